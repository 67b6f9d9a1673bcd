"""Of what an adjective is said: "irregular network" is no irregular border, "white skin" no white lesion."""

import re
from typing import Literal

from dermray.captioning.reading.clauses import Clause

Noun = Literal["border", "lesion", "shape", "colour", "elsewhere", "other"]

VOCABULARY: dict[Noun, str] = {
    "border": "border borders edge edges margin margins outline outlines contour contours perimeter "
    "periphery boundary boundaries",
    "lesion": "lesion lesions mole moles nevus naevus nevi papule macule nodule plaque patch spot growth tumor tumour",
    "shape": "shape form silhouette configuration appearance structure pattern distribution halves axes",
    "colour": "color colors colour colours pigmentation hue shade shades",
    "elsewhere": "skin hair hairs flash reflection reflections glare ruler scale marker arrow arrows background "
    "vignette corner corners patient patients people man men woman women person individual flag "
    "flags balance ink sticker surroundings scars scar",
    "other": "surface network dots globules streaks vessels texture veil cysts area areas region regions openings "
    "lines vessel structures elevation",
}
NOUNS = {word: noun for noun, words in VOCABULARY.items() for word in words.split()}
# A noun phrase ends before one of these.
STOP = re.compile(
    r"is|are|was|were|be|been|appears?|seems?|looks?|has|have|shows?|exhibits|in|on|at|with|along|around|throughout|by|"
    r"for|from|of|than|over|across|near|upon|as|when|without|within|under|an?|the|its?|this|that|these|there|no|not|"
    r"overall"
)
PHRASE = 200  # characters within which a phrase ends, or its head noun is not worth looking for
JOINTS = frozenset({",", "and", "or"})
WORD = re.compile(r"[a-z][a-z'-]*|,")
# A verb before an adjective, and no article between them.
PREDICATE = re.compile(
    r"\b(?:is|are|was|were|be|been|being|appears?|seems?|looks?|remains?)\b(?!.*\b(?:an?|the|its|this|of)\b)"
)


def described(clause: Clause, adjective: re.Match[str], adjectives: re.Pattern[str]) -> Noun | None:
    """The kind of noun that an adjective of a clause belongs to; None where no noun is in sight.

    "Irregular, notched borders": the noun that follows. "The borders of the mole are irregular": the clause's subject.
    """
    follows = _head(clause.text[adjective.end() :], adjectives)
    if follows == "nothing":
        return subject(clause, adjective.start())
    if follows == "unknown":  # "irregular follicles", but "is irregular and scaly"
        return subject(clause, adjective.start()) if PREDICATE.search(clause.text, 0, adjective.start()) else "other"
    return follows


def _head(after: str, adjectives: re.Pattern[str]) -> Noun | Literal["nothing", "unknown"]:
    """The first noun we know in the rest of a noun phrase; of a compound ("lesion border") its last."""
    head: Noun | None = None
    unknown, joined = False, False
    for word in WORD.findall(after[:PHRASE]):
        if head and word not in NOUNS:
            break
        if word in NOUNS:
            head = NOUNS[word]
            continue
        if STOP.fullmatch(word):
            break
        unknown |= word not in JOINTS and not word.endswith("ly") and not joined and not adjectives.fullmatch(word)
        joined = word in JOINTS  # what follows "and" may be one more adjective
    return head or ("unknown" if unknown else "nothing")


def subject(clause: Clause, at: int) -> Noun | None:
    """The first noun of the clause, of the part of it after a comma, of a clause before; or what the heading names."""
    for part in (clause.text[:at].rpartition(",")[2], clause.text[:at], *reversed(clause.before), clause.topic):
        nouns = _nouns(part)
        main, that, relative = part.rpartition(" that ")
        if that and not _nouns(relative):  # "a lesion with an edge that is"
            nouns = _nouns(main)[-1:]
        if nouns:
            return nouns[0]
    return None


def _nouns(text: str) -> list[Noun]:
    return [NOUNS[word] for word in WORD.findall(text) if word in NOUNS]
