"""Which dermoscopic structures an answer sees, by the names of the revised pattern analysis."""

import re
from collections.abc import Sequence

from dermray.captioning.reading.clauses import Clause, affirmed
from dermray.records import STRUCTURES

WORDS = {
    "pigment network": r"(?<!vascular )(?<!negative )network",
    "dots and globules": r"dots|globules",  # one criterion of two names
    "streaks": r"(?<!white )(?<!crystalline )streaks|pseudopods|radial streaming",  # white ones are of another kind
    "blue-white veil": r"blu(?:e|ish)[- ]whit(?:e|ish) veil",
    "regression structures": r"regression",
    "structureless area": r"structureless (?:area|zone|region)s?",
    "vascular structures": r"vascular (?:structure|pattern)s?|(?:blood )?vessels?|telangiectasias?",
    "milia-like cysts": r"mili(?:a|um)-like cysts?",
}
assert tuple(WORDS) == STRUCTURES
STRUCTURE = re.compile("|".join(rf"\b({words})\b" for words in WORDS.values()))
# Under a heading, an adjective is enough: "pigment network: atypical".
KINDS = re.compile(
    r"(?:a?typical|(?:ir)?regular|prominent|faint|subtle|few|several|multiple|focal|peripheral|central)\b"
)
VEIL = re.compile(WORDS["blue-white veil"])


def structures(clauses: Sequence[Clause]) -> tuple[str, ...]:
    """Those affirmed, in the order of `records.STRUCTURES`."""
    headed = (Clause(clause.topic) for clause in clauses if clause.topic and KINDS.match(clause.text))
    seen = {STRUCTURES[word.lastindex - 1] for word in affirmed((*clauses, *headed), STRUCTURE) if word.lastindex}
    return tuple(name for name in STRUCTURES if name in seen)
