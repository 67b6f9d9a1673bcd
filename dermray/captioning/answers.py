"""Between attributes and words: `phrase` writes what `parse` reads back; `unusable` says what may be no caption."""

import json
import re
from dataclasses import dataclass
from typing import Any

from dermray.records import COLOURS, STRUCTURES


@dataclass(frozen=True)
class Attributes:
    """What an answer says of a lesion; None or empty where it says nothing."""

    asymmetry: bool | None = None
    border_irregular: bool | None = None
    colours: tuple[str, ...] = ()
    skin_tone: str | None = None
    structures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """An answer that was read: what it says of the lesion, its text, and question-answer pairs where asked for."""

    attributes: Attributes
    text: str
    pairs: tuple[tuple[str, str], ...] = ()


def phrase(attributes: Attributes) -> str:
    """One plain sentence per attribute; unknown ones are left out."""
    parts = []
    if attributes.asymmetry is not None:
        parts.append("asymmetric lesion" if attributes.asymmetry else "symmetric lesion")
    if attributes.border_irregular is not None:
        parts.append("irregular border" if attributes.border_irregular else "smooth border")
    if attributes.colours:
        parts.append(" and ".join(attributes.colours))
    if attributes.structures:
        parts.append(" and ".join(attributes.structures))
    if attributes.skin_tone is not None:
        parts.append(f"skin tone {attributes.skin_tone}")
    return ", ".join(parts) + "."


def parse(answer: str) -> Answer:
    """Read attributes out of an answer in English, also one that `phrase` did not write."""
    text = answer.lower().replace("colour", "color").replace("blue-grey", "blue-gray")
    structures = tuple(name for name in STRUCTURES if _stands(text, rf"\b{name}\b"))
    colours = re.sub("|".join(STRUCTURES), "", text)  # a blue-white veil is no white
    tone = re.search(r"skin tone (?:is )?([abc])\b", text)
    said = Attributes(
        asymmetry=_either(text, r"\basymmetr(?:ic|ical|y)\b", r"\bsymmetr(?:ic|ical|y)\b"),
        border_irregular=_either(text, r"\birregular\b", r"\b(?:smooth|regular|well-defined)\b"),
        colours=tuple(name for name in COLOURS if _stands(colours, rf"\b{name}\b")),
        skin_tone=tone.group(1).upper() if tone else None,
        structures=structures,
    )
    return Answer(said, answer.strip())


def _either(text: str, positive: str, negative: str) -> bool | None:
    """True or False where exactly one of the two words stands unnegated; None where neither or both do."""
    said_yes, said_no = _stands(text, positive), _stands(text, negative)
    return None if said_yes == said_no else said_yes


def _stands(text: str, word: str) -> bool:
    return re.search(rf"(?<!no )(?<!not )(?<!without ){word}", text) is not None


def read_json(answer: str, schema: dict[str, Any]) -> Any:
    """What an answer in JSON says.

    Raises:
        ValueError: not JSON, or not of the schema.
    """
    import jsonschema

    try:
        said = json.loads(answer)
        jsonschema.validate(said, schema)
    except json.JSONDecodeError as error:
        raise ValueError(f"invalid JSON: {error.msg}") from None
    except jsonschema.ValidationError as error:
        raise ValueError(f"JSON outside its schema: {error.json_path}") from None
    return said


REFUSAL = re.compile(
    r"(?i)^\W*(i'?m sorry|i am sorry|sorry,|i(?:'m| am) (?:not able|unable)|i can(?:no|')t|i cannot|as an ai)"
)
QUOTED = re.compile(
    r"(?i)internal context|(?:provided|given|supplied|accompanying|patient'?s?) (?:meta-?data|context|information)"
    r"|according to the (?:meta-?data|context|record)|the meta-?data"
)


def unusable(answer: str, finish_reason: str | None) -> str | None:
    """Why an answer must not become a caption, judged by its form alone; or None."""
    words = answer.split()
    if finish_reason in ("content_filter", "refusal"):  # the endpoint's own word
        return "refusal"
    if not words:
        return "empty answer"
    if finish_reason == "length":
        return "truncated answer"
    if REFUSAL.search(answer):
        return "refusal"
    if loops(words):
        return "repetition loop"
    return None


def loops(words: list[str]) -> bool:
    """Whether fewer than half of the trigrams of an answer of 15 words or more are different ones."""
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(trigrams) > 12 and len(set(trigrams)) < len(trigrams) / 2


def quotes(answer: str, known: dict[str, str]) -> bool:
    """Whether an answer speaks of the context it was told to keep to itself, or repeats a line of it.

    `known` maps the attributes' names to their values, as in the prompt.
    """
    text = answer.lower()
    lines = [f"{name}: {value}".lower() for name, value in known.items()]
    age = known.get("age")
    return (
        QUOTED.search(answer) is not None
        or any(line in text for line in lines)
        or (age is not None and re.search(rf"\b{age}[- ]years?[- ]old\b", text) is not None)
    )
