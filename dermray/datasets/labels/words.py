"""From a source's word for a diagnosis to entity and malignancy. What no rule knows is None, never benign."""

import difflib
from collections.abc import Iterable

from dermray.datasets.cells import plain

# HAM10000's seven and their usual names. Tschandl et al. 2018: bkl holds seborrheic keratoses, solar lentigines and
# lichen-planus-like keratoses; vasc angiomas, angiokeratomas, pyogenic granulomas and haemorrhages.
ENTITY = {
    **dict.fromkeys(("mel", "melanoma", "malignant melanoma", "melanoma in situ", "melanoma invasive"), "mel"),
    **dict.fromkeys(("lentigo maligna", "nodular melanoma", "superficial spreading melanoma", "acral melanoma"), "mel"),
    **dict.fromkeys(("melanoma acral lentiginous", "nodular melanoma (nm)"), "mel"),
    **dict.fromkeys(("nv", "nev", "nevus", "nevi", "naevus", "melanocytic nevus", "melanocytic nevi"), "nv"),
    **dict.fromkeys(("dysplastic nevus", "congenital nevus", "halo nevus", "nevocytic nevus", "blue nevus"), "nv"),
    **dict.fromkeys(("bcc", "basal cell carcinoma", "basal cell carcinoma morpheiform"), "bcc"),
    **dict.fromkeys(("basal cell carcinoma superficial", "basal cell carcinoma nodular"), "bcc"),
    **dict.fromkeys(("solid cystic basal cell carcinoma",), "bcc"),
    **dict.fromkeys(("akiec", "ak", "ack", "actinic keratosis", "solar or actinic keratosis"), "akiec"),
    **dict.fromkeys(("squamous cell carcinoma in situ", "bowen's disease", "bowens disease", "bowen disease"), "akiec"),
    **dict.fromkeys(("bkl", "sek", "benign keratosis", "pigmented benign keratosis", "seborrheic keratosis"), "bkl"),
    **dict.fromkeys(("seborrheic keratosis irritated", "seborrhoeic keratosis", "solar lentigo"), "bkl"),
    **dict.fromkeys(("lichen planus like keratosis", "lichenoid keratosis"), "bkl"),
    **dict.fromkeys(("df", "dermatofibroma"), "df"),
    **dict.fromkeys(("vasc", "vascular lesion", "angioma", "hemangioma", "angiokeratoma"), "vasc"),
    **dict.fromkeys(("pyogenic granuloma", "granuloma pyogenic"), "vasc"),
    **dict.fromkeys(("scc", "squamous cell carcinoma", "keratoacanthoma", "other"), "other"),
}
# akiec mixes carcinoma in situ (Bowen's disease) with its precursor, the actinic keratosis: its label is unknown.
# `other` holds diseases of both kinds.
MALIGNANT: dict[str, bool | None] = {
    "mel": True, "bcc": True, "nv": False, "bkl": False, "df": False, "vasc": False, "akiec": None, "other": None,
}  # fmt: skip


def entity_of(diagnosis: str | None) -> str | None:
    """One of the seven or other; None for a word that no rule knows."""
    return None if diagnosis is None else ENTITY.get(plain(diagnosis.replace("-", " ")))


def malignant_of(
    diagnosis: str | None, malignant: Iterable[str], benign: Iterable[str], others: bool | None = None
) -> bool | None:
    """True or False for a class that one of the lists names, `others` for one that neither does."""
    if diagnosis is None:
        return None
    word = plain(diagnosis)
    if word in map(plain, malignant):
        return True
    return False if word in map(plain, benign) else others


def require_match(entries: Iterable[str], words: Iterable[str], what: str) -> None:
    """Refuse a config list of which an entry names nothing in the data.

    Raises:
        ValueError: with the entries and the nearest words.
    """
    known = sorted({plain(word): word for word in words}.items())
    strangers = [entry for entry in entries if plain(entry) not in dict(known)]
    if not strangers:
        return
    nearest = [dict(known)[near] for s in strangers for near in difflib.get_close_matches(plain(s), dict(known), n=2)]
    there = [word for _, word in known]
    raise ValueError(
        f"{what}: {strangers} match nothing in the data"
        + (f"; the nearest: {sorted(set(nearest))}" if nearest else "")
        + f"; there are: {there[:20]}{f' and {len(there) - 20} more' if len(there) > 20 else ''}"
    )
