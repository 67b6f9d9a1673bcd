"""What an answer says of tone, sex, age, site and modality, by rule, held against the row's metadata.

Only what its clauses affirm: "not a female" says nothing of a sex, because a caption that denies one is no mention.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dermray.captioning.compose import ENTITY_NAMES
from dermray.captioning.reading.clauses import Clause, affirmed, clauses
from dermray.captioning.reading.typography import plain

NEAR = r"(?:the |his|her|their|an? )?(?:left |right )?"
SITES = {
    "head or neck": r"face|facial|scalp|ears?|nose|nasal|cheeks?|lips?|neck|forehead|eyelids?|temple|chin|head",
    # the back of the hand is no back; that of a patient is
    "trunk": rf"back(?! of {NEAR} ?(?:hand|head|neck|knee|thigh|leg|calf|ear|arm|foot|elbow|scalp))|chest|abdomen|"
    r"abdominal|trunk|torso|breast|flank|buttocks?",
    "upper limb": r"arms?|forearms?|elbows?|upper extremit(?:y|ies)|wrists?|hands?|palms?|fingers?|palmar",
    "lower limb": r"legs?|thighs?|knees?|calf|shins?|lower extremit(?:y|ies)|ankles?|f(?:oo|ee)t|soles?|toes?|plantar",
    "genital": r"genitals?|genitalia|vulva|penis|scrotum",
}
# Parts of the body that are none.
IDIOMS = re.compile(
    r"\bon (?:the|one) (?:one |other )?hand\b|\b(?:left|right)-hand\b|\bhand-?held\b|\bby hand\b|\bat hand\b|"
    r"\bback(?:ground)? of the (?:image|picture|photo\w*)\b|\bon the face of it\b|\bhead-on\b|\bhead of the bed\b|"
    r"\b(?:dates?|goes|going|trac(?:es?|ed)|heal(?:s|ed)?) back\b|\brule of thumb\b"
)
FITZPATRICK = {"1": "A", "2": "A", "3": "B", "4": "B", "5": "C", "6": "C",
               "i": "A", "ii": "A", "iii": "B", "iv": "B", "v": "C", "vi": "C"}  # fmt: skip
# "a dark skin lesion" is a lesion that is dark
SKIN = r"skin(?! (?:lesions?|tags?|cancers?|marks?|growths?|patch(?:es)?|tumou?rs?|moles?|spots?))"
TONE_WORDS = {
    "A": rf"(?:fair|pale|light|white)(?:[- ](?:colou?red|toned))? {SKIN}|light skin tone|caucasian",
    "B": rf"(?:olive|medium|tan|tanned|light brown) {SKIN}|medium skin tone",
    "C": rf"(?:dark|black|deep|dark brown) {SKIN}|dark skin tone|darkly pigmented {SKIN}",
}
AGE_TOLERANCE = 5  # years: HAM10000 and ISIC round to five
AGE_WORDS = {r"infant|toddler|child|boy|girl": (0, 17), r"teenager|adolescent": (10, 21), r"elderly": (60, 130)}
TYPE = r"(vi|iv|v|i{1,3}|[1-6])"
TYPES = re.compile(rf"\bfitzpatrick(?: skin)?(?: photo)?(?: ?types?| scale)? ?{TYPE}(?: ?(?:-|/|to|or|and) ?{TYPE})?\b")
# of a person: a lesion and a scar have an age too
YEARS = re.compile(
    r"\b(\d{1,3})[- ]years?[- ]old\b(?! (?:lesion|mole|nevus|scar|tattoo|wound))|\baged? (?:of )?(\d{1,3})\b"
)
DECADE = re.compile(r"\bin (?:his|her|their) (\d0)s\b")
DIAGNOSES = (
    r"melanomas?|n(?:a)?ev(?:us|i)|carcinomas?|keratos[ie]s|dermatofibromas?|angiomas?|hemangiomas?|"
    r"malignan(?:t|cy)|benign|cancer(?:ous)?"
)


def _named(said: Sequence[Clause], words: dict[Any, str]) -> list[Any]:
    """The names whose words are affirmed."""
    return [name for name, pattern in words.items() if any(affirmed(said, re.compile(rf"\b(?:{pattern})\b")))]


def said_tones(said: Sequence[Clause]) -> set[str]:
    """DDI groups A, B, C; both where a range of Fitzpatrick types spans them."""
    tones = {match[1].upper() for match in affirmed(said, re.compile(r"\bskin tone (?:is )?([abc])\b"))}
    tones |= {FITZPATRICK[name] for match in affirmed(said, TYPES) for name in match.groups() if name}
    return tones | set(_named(said, TONE_WORDS))


def said_sexes(said: Sequence[Clause]) -> set[str]:
    """female, male."""
    return set(_named(said, {"female": r"female|wom[ae]n|girl|lady", "male": r"male|m[ae]n|boy|gentleman"}))


def said_sites(said: Sequence[Clause]) -> set[str]:
    """Regions of the body."""
    return set(_named([Clause(IDIOMS.sub("", c.text), c.topic, c.before) for c in said], SITES))


def said_modalities(said: Sequence[Clause]) -> set[str]:
    """dermoscopic, clinical."""
    words = {
        "dermoscopic": r"derm(?:at)?oscop(?:ic|y|e)",
        "clinical": r"clinical (?:photo(?:graph)?|image|picture)|smartphone|close-up photo(?:graph)?",
    }
    return set(_named(said, words))


def said_ages(said: Sequence[Clause]) -> list[tuple[int, int]]:
    """Ranges of years."""
    years = [int(match[1] or match[2]) for match in affirmed(said, YEARS)]
    decades = [int(match[1]) for match in affirmed(said, DECADE)]
    spans = [(n - AGE_TOLERANCE, n + AGE_TOLERANCE) for n in years] + [(n, n + 9) for n in decades]
    return spans + [AGE_WORDS[words] for words in _named(said, {words: words for words in AGE_WORDS})]


def said_in(text: str) -> list[Clause]:
    """The clauses of an answer."""
    return list(clauses(plain(text)))


@dataclass(frozen=True)
class Rule:
    """How an attribute is judged: what a text says of it, what is true of a row (nothing: unknown), do they agree."""

    said: Callable[[Sequence[Clause]], Any]
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
    "site": Rule(said_sites, lambda row: said_sites(said_in(str(row.get("site") or "")))),
    "modality": Rule(said_modalities, _just("modality")),
}


def compare(answer: str, row: dict[str, Any]) -> dict[str, bool | None]:
    """For each attribute: True where the answer agrees with the metadata, False where it contradicts, None where
    either is silent. An answer that names several values contradicts where none of them is right.
    """
    verdicts: dict[str, bool | None] = {}
    spoken = said_in(answer)
    for name, rule in RULES.items():
        said, truth = rule.said(spoken), rule.truth(row)
        verdicts[name] = rule.agree(said, truth) if said and truth else None
    return verdicts


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


def names_the_diagnosis(text: str, row: dict[str, Any]) -> bool:
    """Whether a text names a diagnosis or says malignant or benign, its own row's word included.

    A denial counts: who reads "no sign of melanoma" knows the label as well.
    """
    own = [re.escape(plain(str(word))) for word in (row.get("diagnosis"), ENTITY_NAMES.get(row.get("entity") or ""))
           if word and len(str(word)) > 3]  # fmt: skip
    return re.search(rf"\b(?:{'|'.join([DIAGNOSES, *own])})\b", plain(text)) is not None
