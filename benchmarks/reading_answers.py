"""How well answers are read: statements about lesions against labels by hand, refusals and captions told apart, speed.

    python -m benchmarks.reading_answers

The lists lie in tests/captioning/reading. Half of each, by a hash of its text, was held back while the rules were
written: rules were tuned on the other half, and the held-back half was read once, at the end.
"""

import csv
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dermray.captioning.answers import Attributes
from dermray.captioning.reading import parse
from dermray.captioning.unusable import unusable

LISTS = Path(__file__).parents[1] / "tests" / "captioning" / "reading"
TRUTH = {"yes": True, "no": False, "unknown": None}
ATTRIBUTES = ("asymmetry", "border_irregular", "colours", "structures")


def rows(name: str) -> list[dict[str, str]]:
    """The lines of one list; \\n in a text is a line break."""
    with (LISTS / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row | {"text": row["text"].replace("\\n", "\n"), "half": half(row["text"])} for row in found]


def half(text: str) -> str:
    """Which half a line belongs to: held back where the first hex digit of its SHA-256 is odd."""
    return "held back" if int(hashlib.sha256(text.encode()).hexdigest()[0], 16) % 2 else "development"


def label(row: dict[str, str]) -> dict[str, Any]:
    """What a statement says, as it was labelled by hand."""
    sets = {name: frozenset(filter(None, row[name].split("; "))) for name in ("colours", "structures")}
    return {name: TRUTH[row[name]] for name in ("asymmetry", "border_irregular")} | sets


def verdict(said: Any, truth: Any) -> str:
    """right; unknown, where less is read than was said; or wrong, where something is read that was not said."""
    if said == truth:
        return "right"
    less = said is None if not isinstance(truth, frozenset) else said < truth
    return "unknown" if less else "wrong"


def judge(read: Callable[[str], Attributes], statements: Iterable[dict[str, str]]) -> dict[str, Counter[str]]:
    """Verdicts by attribute, and "sentences": wrong if any attribute is wrong, right if all are."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*ATTRIBUTES, "sentences")}
    for row in statements:
        attributes = read(row["text"])
        said = {name: getattr(attributes, name) for name in ATTRIBUTES}
        said |= {name: frozenset(said[name]) for name in ("colours", "structures")}
        verdicts = {name: verdict(said[name], truth) for name, truth in label(row).items()}
        for name, word in verdicts.items():
            counts[name][word] += 1
        worst = next(word for word in ("wrong", "unknown", "right") if word in verdicts.values())
        counts["sentences"][worst] += 1
    return counts


def refused(texts: Iterable[dict[str, str]]) -> int:
    """How many of them count as refusals."""
    return sum(unusable(row["text"], "stop") == "refusal" for row in texts)


def microseconds(read: Callable[[str], Any], texts: list[str], turns: int = 20) -> float:
    """CPU time per text, the best of some turns."""
    best = float("inf")
    for _ in range(turns):
        started = time.process_time()
        for text in texts:
            read(text)
        best = min(best, time.process_time() - started)
    return 1e6 * best / len(texts)


def main() -> None:
    """Print all tables."""
    statements = rows("statements")
    for part in ("development", "held back"):
        mine = [row for row in statements if row["half"] == part]
        print(f"{len(mine)} statements, {part}:\n| | right | unknown | wrong |\n|---|---:|---:|---:|")
        for name, counts in judge(lambda text: parse(text).attributes, mine).items():
            print(f"| {name} | " + " | ".join(str(counts[word]) for word in ("right", "unknown", "wrong")) + " |")
    for name, word in (("refusals", "recall"), ("captions", "false alarms")):
        for part in ("development", "held back"):
            mine = [row for row in rows(name) if row["half"] == part]
            print(f"{name}, {part}: {word} {refused(mine)} of {len(mine)}")
    texts = [row["text"] for row in rows("captions")]
    length = sum(map(len, texts)) / len(texts)
    print(
        f"captions of {length:.0f} characters: parse {microseconds(parse, texts):.0f} us, "
        f"unusable {microseconds(lambda text: unusable(text, 'stop'), texts):.0f} us"
    )


if __name__ == "__main__":
    main()
