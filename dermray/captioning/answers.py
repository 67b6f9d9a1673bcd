"""Between attributes and words: `phrase` writes what `parse` reads back."""

import re
from dataclasses import dataclass

from dermray.records import COLOURS


@dataclass(frozen=True)
class Attributes:
    """What an ABC answer says; None or empty where it says nothing."""

    asymmetry: bool | None = None
    border_irregular: bool | None = None
    colours: tuple[str, ...] = ()
    skin_tone: str | None = None


def phrase(attributes: Attributes) -> str:
    """One plain sentence per attribute; unknown ones are left out."""
    parts = []
    if attributes.asymmetry is not None:
        parts.append("asymmetric lesion" if attributes.asymmetry else "symmetric lesion")
    if attributes.border_irregular is not None:
        parts.append("irregular border" if attributes.border_irregular else "smooth border")
    if attributes.colours:
        parts.append(" and ".join(attributes.colours))
    if attributes.skin_tone is not None:
        parts.append(f"skin tone {attributes.skin_tone}")
    return ", ".join(parts) + "."


def parse(answer: str) -> Attributes:
    """Read attributes out of an answer in English, also one that `phrase` did not write."""
    text = answer.lower().replace("colour", "color").replace("blue-grey", "blue-gray")
    tone = re.search(r"skin tone (?:is )?([abc])\b", text)
    return Attributes(
        asymmetry=_either(text, r"\basymmetr(?:ic|ical|y)\b", r"\bsymmetr(?:ic|ical|y)\b"),
        border_irregular=_either(text, r"\birregular\b", r"\b(?:smooth|regular|well-defined)\b"),
        colours=tuple(name for name in COLOURS if re.search(rf"\b{name}\b", text)),
        skin_tone=tone.group(1).upper() if tone else None,
    )


def _either(text: str, positive: str, negative: str) -> bool | None:
    """True or False where exactly one of the two words stands unnegated; None where neither or both do."""
    said_yes, said_no = _stands(text, positive), _stands(text, negative)
    return None if said_yes == said_no else said_yes


def _stands(text: str, word: str) -> bool:
    return re.search(rf"(?<!no )(?<!not )(?<!without ){word}", text) is not None


def unusable(answer: str, finish_reason: str | None) -> str | None:
    """Why an answer must not become a caption, or None."""
    words = answer.split()
    if not words:
        return "empty answer"
    if finish_reason == "length":
        return "truncated answer"
    if re.match(r"(?i)\s*(i'?m sorry|i can(?:no|')t|as an ai)", answer):
        return "refusal"
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    if len(trigrams) > 12 and len(set(trigrams)) < len(trigrams) / 2:
        return "repetition loop"
    if parse(answer) == Attributes():
        return "no ABC attribute in the answer"
    return None
