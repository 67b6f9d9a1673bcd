"""What an answer says of tone, sex, age, site and modality, by rule, held against the row's metadata."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SITES = {
    "head or neck": r"face|facial|scalp|ears?|nose|nasal|cheeks?|lips?|neck|forehead|eyelids?|temple|chin|head",
    "trunk": r"back|chest|abdomen|abdominal|trunk|torso|breast|flank|buttocks?",
    "upper limb": r"arms?|forearms?|elbows?|upper extremit(?:y|ies)|wrists?|hands?|palms?|fingers?|palmar",
    "lower limb": r"legs?|thighs?|knees?|calf|shins?|lower extremit(?:y|ies)|ankles?|f(?:oo|ee)t|soles?|toes?|plantar",
    "genital": r"genitals?|genitalia|vulva|penis|scrotum",
}
FITZPATRICK = {"1": "A", "2": "A", "3": "B", "4": "B", "5": "C", "6": "C",
               "i": "A", "ii": "A", "iii": "B", "iv": "B", "v": "C", "vi": "C"}  # fmt: skip
TONE_WORDS = {
    "A": r"(?:fair|pale|light|white)(?:[- ](?:colou?red|toned))? skin|light skin tone|caucasian",
    "B": r"(?:olive|medium|tan|tanned|light brown) skin|medium skin tone",
    "C": r"(?:dark|black|deep|dark brown) skin|dark skin tone|darkly pigmented skin",
}
AGE_TOLERANCE = 5  # years: HAM10000 and ISIC round to five
AGE_WORDS = {r"infant|toddler|child|boy|girl": (0, 17), r"teenager|adolescent": (10, 21), r"elderly": (60, 130)}


def said_tones(text: str) -> set[str]:
    """DDI groups A, B, C."""
    found = {match.upper() for match in re.findall(r"\bskin tone (?:is )?([abc])\b", text)}
    types = re.findall(r"\bfitzpatrick(?: skin)?(?: photo)?(?:type| type| scale)? ?(vi|iv|v|i{1,3}|[1-6])\b", text)
    found |= {FITZPATRICK[name] for name in types}
    return found | {tone for tone, words in TONE_WORDS.items() if re.search(rf"\b(?:{words})\b", text)}


def said_sexes(text: str) -> set[str]:
    """female, male."""
    words = {"female": r"female|wom[ae]n|girl|lady", "male": r"male|m[ae]n|boy|gentleman"}
    return {sex for sex, pattern in words.items() if re.search(rf"\b(?:{pattern})\b", text)}


def said_sites(text: str) -> set[str]:
    """Regions of the body; "in the back of" and the like are not told apart."""
    return {region for region, words in SITES.items() if re.search(rf"\b(?:{words})\b", text)}


def said_modalities(text: str) -> set[str]:
    """dermoscopic, clinical."""
    words = {
        "dermoscopic": r"derm(?:at)?oscop(?:ic|y|e)",
        "clinical": r"clinical (?:photo(?:graph)?|image|picture)|smartphone|close-up photo(?:graph)?",
    }
    return {name for name, pattern in words.items() if re.search(rf"\b(?:{pattern})\b", text)}


def said_ages(text: str) -> list[tuple[int, int]]:
    """Ranges of years."""
    found = [
        (int(n) - AGE_TOLERANCE, int(n) + AGE_TOLERANCE) for n in re.findall(r"\b(\d{1,3})[- ]years?[- ]old\b", text)
    ]
    found += [
        (int(n) - AGE_TOLERANCE, int(n) + AGE_TOLERANCE) for n in re.findall(r"\baged? (?:of )?(\d{1,3})\b", text)
    ]
    found += [(int(n), int(n) + 9) for n in re.findall(r"\bin (?:his|her|their) (\d0)s\b", text)]
    return found + [span for words, span in AGE_WORDS.items() if re.search(rf"\b(?:{words})\b", text)]


@dataclass(frozen=True)
class Rule:
    """How an attribute is judged: what a text says of it, what is true of a row (nothing: unknown), do they agree."""

    said: Callable[[str], Any]
    truth: Callable[[dict[str, Any]], Any]
    agree: Callable[[Any, Any], bool] = lambda said, truth: bool(said & truth)


def _just(name: str) -> Callable[[dict[str, Any]], set[Any]]:
    return lambda row: {row[name]} if row.get(name) is not None else set()


RULES = {
    "skin_tone": Rule(said_tones, _just("skin_tone")),
    "sex": Rule(said_sexes, _just("sex")),
    "age": Rule(
        said_ages,
        _just("age"),
        lambda spans, ages: any(low <= age <= high for low, high in spans for age in ages),
    ),
    # a site whose words map to no region cannot be judged, and counts as unknown
    "site": Rule(said_sites, lambda row: said_sites(str(row.get("site") or "").lower())),
    "modality": Rule(said_modalities, _just("modality")),
}


def compare(answer: str, row: dict[str, Any]) -> dict[str, bool | None]:
    """For each attribute: True where the answer agrees with the metadata, False where it contradicts, None where
    either is silent. An answer that names several values contradicts where none of them is right.
    """
    found: dict[str, bool | None] = {}
    for name, rule in RULES.items():
        said, truth = rule.said(answer.lower()), rule.truth(row)
        found[name] = rule.agree(said, truth) if said and truth else None
    return found


def rates(rows: list[dict[str, Any]]) -> dict[str, dict[str, float | int]]:
    """Per attribute: rows where metadata knows it, rows whose answer speaks of it, contradictions, and two shares.

    `echoed` is the share of rows with known metadata whose answer repeats it rightly.
    """
    judged = [compare(row["answer"], row) for row in rows]
    result: dict[str, dict[str, float | int]] = {}
    for name, rule in RULES.items():
        known = sum(bool(rule.truth(row)) for row in rows)
        spoken = [j[name] for j in judged if j[name] is not None]
        wrong = spoken.count(False)
        result[name] = {
            "known": known,
            "mentioned": len(spoken),
            "contradicted": wrong,
            "contradiction_rate": wrong / len(spoken) if spoken else 0.0,
            "echoed": (len(spoken) - wrong) / known if known else 0.0,
        }
    return result
