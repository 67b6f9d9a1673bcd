"""Closed questions: words, what is true of a row, and how an answer is read.

What is true comes from metadata, or from what a phantom's painter knows. Nothing is asked of a row that does not tell.
The answers are words that SQuAD's normalisation keeps: it drops the article "a", so skin tones are no letters here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dermray.captioning.audit.mentions import SITES, said_in, said_modalities, said_sites, said_tones
from dermray.captioning.compose import ENTITY_NAMES
from dermray.captioning.reading import parse
from dermray.captioning.reading.clauses import affirmed
from dermray.captioning.reading.typography import plain
from dermray.records import COLOURS

Row = dict[str, Any]
DESCRIBE = "Describe the lesion in this image: its symmetry, its border, its colours, and the skin tone around it."
TONES = {"A": "light", "B": "medium", "C": "dark"}
TONE_WORD = re.compile(r"\W*(?:(?:it|the skin(?: tone)?) is )?(light|medium|dark)\b(?! ?brown)")
YES_NO = re.compile(r"\W*(yes|no)\b")
LABELS = {True: re.compile(r"\b(?:malignan(?:t|cy)|cancer(?:ous)?)\b"), False: re.compile(r"\bbenign\b")}
# As answers name HAM10000's seven; a word of one is no word of another.
DIAGNOSIS_WORDS = {
    "akiec": r"actinic keratos[ie]s|bowen'?s disease|intraepithelial carcinoma|akiec",
    "bcc": r"basal cell carcinomas?|bcc",
    "bkl": r"(?:benign|seborrh?oeic|seborrheic) keratos[ie]s|(?:solar )?lentig(?:o|ines)|bkl",
    "df": r"dermatofibromas?",
    "mel": r"melanomas?",
    "nv": r"n(?:a)?ev(?:us|i)|moles?",
    "vasc": r"vascular lesions?|(?:ha?em)?angiomas?|angiokeratomas?|pyogenic granulomas?",
}
DIAGNOSES = {entity: re.compile(rf"\b(?:{words})\b") for entity, words in DIAGNOSIS_WORDS.items()}


@dataclass(frozen=True)
class Closed:
    """A question with few possible answers."""

    text: str
    truth: Callable[[Row], str | None]  # None: this row does not tell
    read: Callable[[str], str | None]  # which of the possible answers a text gives, in the truth's words; None: none


def said_entities(text: str) -> set[str]:
    """Which of the seven an answer affirms."""
    spoken = said_in(text)
    return {entity for entity, words in DIAGNOSES.items() if any(affirmed(spoken, words))}


def said_malignant(text: str) -> bool | None:
    """Whether an answer calls the lesion malignant, or not malignant; None where it says neither, or both."""
    verdicts = set()
    for clause in said_in(text):
        for malignant, words in LABELS.items():
            for word in words.finditer(clause.text):
                status = clause.status(word.start())
                if status != "unclear":
                    verdicts.add(malignant if status == "affirmed" else not malignant)
    return verdicts.pop() if len(verdicts) == 1 else None


def colours_in_words(colours: tuple[str, ...] | list[str]) -> str:
    """A set of colours in one order."""
    return ", ".join(name for name in COLOURS if name in colours)


def _yes_no(said: Callable[[str], bool | None]) -> Callable[[str], str | None]:
    """An answer begins with yes or no, or is a sentence that `said` understands."""

    def read(text: str) -> str | None:
        begins = YES_NO.match(plain(text))
        return begins[1] if begins else _in_words(said(text))

    return read


def _in_words(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _flag(column: str) -> Callable[[Row], str | None]:
    return lambda row: _in_words(row.get(column))


def _only(found: set[str]) -> str | None:
    return next(iter(found)) if len(found) == 1 else None


def _either(options: dict[str, str], said: Callable[[Any], set[str]]) -> Callable[[str], str | None]:
    """The one option whose words are affirmed, or else the one value that `said` finds."""

    def read(text: str) -> str | None:
        spoken = said_in(text)
        named = {name for name, words in options.items() if any(affirmed(spoken, re.compile(rf"\b(?:{words})\b")))}
        return _only(named) if named else _only(said(spoken))

    return read


def _tone(text: str) -> str | None:
    tone = _only(said_tones(said_in(text)))
    word = TONE_WORD.match(plain(text))
    return TONES[tone] if tone else word[1] if word else None


def _tone_of(row: Row) -> str | None:
    """An estimate out of pixels is no truth."""
    return TONES.get(row.get("skin_tone") or "") if row.get("skin_tone_source") == "metadata" else None


def _diagnosis(text: str) -> str | None:
    entity = _only(said_entities(text))
    return ENTITY_NAMES[entity] if entity else None


def _one_of(options: list[str]) -> str:
    return f"{', '.join(options[:-1])} or {options[-1]}"


MODALITIES = {"dermoscopic": r"dermoscopic|dermoscopy", "clinical": "clinical"}
QUESTIONS = {
    "malignant": Closed(
        "Is the lesion in this image malignant? Answer yes or no.", _flag("malignant"), _yes_no(said_malignant)
    ),
    "diagnosis": Closed(
        f"Which diagnosis fits the lesion in this image best: {_one_of([*ENTITY_NAMES.values()])}? "
        "Answer with one of these names.",
        lambda row: ENTITY_NAMES.get(row.get("entity") or ""),
        _diagnosis,
    ),
    "skin_tone": Closed(
        "Which tone has the skin around the lesion: light (Fitzpatrick I to II), medium (III to IV) or dark (V to VI)? "
        "Answer with one word.",
        _tone_of,
        _tone,
    ),
    "asymmetry": Closed(
        "Is the lesion in this image asymmetric? Answer yes or no.",
        _flag("true_asymmetry"),
        _yes_no(lambda text: parse(text).attributes.asymmetry),
    ),
    "border": Closed(
        "Is the border of the lesion in this image irregular? Answer yes or no.",
        _flag("true_border_irregular"),
        _yes_no(lambda text: parse(text).attributes.border_irregular),
    ),
    "colours": Closed(
        f"Which of these colours does the lesion have: {', '.join(COLOURS)}? Answer with a list of all that it has.",
        lambda row: colours_in_words(row.get("true_colours") or []) or None,
        lambda text: colours_in_words(parse(text).attributes.colours) or None,
    ),
    "site": Closed(
        f"On which part of the body is the lesion: {_one_of([*SITES])}? Answer with one of these.",
        lambda row: _only(said_sites(said_in(str(row.get("site") or "")))),
        _either({name: name for name in SITES}, said_sites),
    ),
    "modality": Closed(
        "Is this a dermoscopic or a clinical image? Answer with one word.",
        lambda row: row.get("modality"),
        _either(MODALITIES, said_modalities),
    ),
}
PAIRS, DESCRIPTION = "pairs", "describe"
NAMES = (*QUESTIONS, DESCRIPTION, PAIRS)
