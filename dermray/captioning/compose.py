"""The caption a generator learns from: what the metadata says, then what the captioner saw."""

from dataclasses import replace
from typing import Any

from dermray.captioning.answers import Answer, phrase

METADATA = ("malignant", "entity", "diagnosis", "modality", "skin_tone", "sex", "age", "site")
ENTITY_NAMES = {
    "akiec": "actinic keratosis",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "nevus",
    "vasc": "vascular lesion",
}


def compose(row: dict[str, Any], answer: Answer, sentences: bool, metadata: tuple[str, ...]) -> str:
    """One caption: metadata, then the answer's own `sentences`, or else its attributes.

    Unknown attributes are left out; metadata's skin tone goes before the captioner's.
    """
    return joined(row, answer.text if sentences else _attributes(row, answer, metadata), metadata)


def joined(row: dict[str, Any], seen: str, metadata: tuple[str, ...] = METADATA) -> str:
    """What the metadata says, then what was seen; either may be nothing."""
    words = ", ".join(text for name in metadata if (text := _word(name, row.get(name))))
    return f"{words}: {seen}" if words and seen else words or seen


def _attributes(row: dict[str, Any], answer: Answer, metadata: tuple[str, ...]) -> str:
    known_tone = "skin_tone" in metadata and row.get("skin_tone") is not None
    return phrase(replace(answer.attributes, skin_tone=None) if known_tone else answer.attributes)


def _word(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if name == "malignant":
        return "malignant" if value else "benign"
    if name == "entity":
        return ENTITY_NAMES.get(value)
    if name == "skin_tone":
        return f"skin tone {value}"
    if name == "age":
        return f"age {int(value) // 10 * 10} to {int(value) // 10 * 10 + 9}"
    return str(value)
