"""What a result's pairs are, in numbers: paper 003's table by source and modality, words, reasons of rejection."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dermray.columns import Tally, add
from dermray.describe.table import aligned

COLUMNS = ["status", "reason", "source", "modality", "pairs"]
WORD = r"\S+"


@dataclass
class PairCounts:
    """What rows of `records.INSTRUCTED` add up to. Its memory grows with kinds, sources and lengths, not with rows."""

    images: Tally = field(default_factory=Counter)  # (status, reason, source, modality) -> rows
    pairs: Tally = field(default_factory=Counter)  # (status, reason, kind, source, modality) -> pairs
    words: dict[str, Counter[int]] = field(default_factory=lambda: {"question": Counter(), "answer": Counter()})

    def add(self, batch: pa.RecordBatch) -> None:
        """Rows with COLUMNS; words are counted of pairs that are ok."""
        add(self.images, batch.select(["status", "reason", "source", "modality"]))
        pairs, row = batch["pairs"].flatten(), pc.list_parent_indices(batch["pairs"])
        columns = {name: pc.struct_field(pairs, name) for name in ("status", "reason", "kind")}
        columns |= {name: batch[name].take(row) for name in ("source", "modality")}
        add(self.pairs, pa.RecordBatch.from_pydict(columns))
        ok = pairs.filter(pc.equal(columns["status"], "ok"))
        for name, counts in self.words.items():
            lengths = pc.value_counts(pc.count_substring_regex(pc.struct_field(ok, name), WORD)).to_pylist()
            counts.update({length["values"]: length["counts"] for length in lengths})

    def numbers(self) -> dict[str, Any]:
        """For `summary.json`: totals, a line for each source and modality, kinds, words, and reasons."""
        ok = sum(n for (status, *_), n in self.pairs.items() if status == "ok")
        return {
            "pairs": self.pairs.total(),
            "pairs_ok": ok,
            "images": self.images.total(),
            "images_with_pairs": sum(n for (status, *_), n in self.images.items() if status == "ok"),
            "by_source": [self._line(*place) for place in self._places()],
            "by_kind": self._kinds(),
            "words": {name: spread(counts) for name, counts in self.words.items()},
            "rejected": dict(_by(self.pairs, lambda key: key[1] if key[0] != "ok" else None).most_common()),
        }

    def _places(self) -> list[tuple[str | None, str | None]]:
        found = {(source, modality) for _, _, source, modality in self.images}
        return sorted(found, key=lambda place: tuple(part or "" for part in place))

    def _line(self, source: str | None, modality: str | None) -> dict[str, Any]:
        images = Counter({key: n for key, n in self.images.items() if key[2:] == (source, modality)})
        pairs = Counter({key: n for key, n in self.pairs.items() if key[3:] == (source, modality)})
        ok = _by(pairs, lambda key: key[2] if key[0] == "ok" else None)
        return {
            "source": source,
            "modality": modality,
            "images": images.total(),
            "images_with_pairs": sum(n for key, n in images.items() if key[0] == "ok"),
            "pairs": pairs.total(),
            "pairs_ok": ok.total(),
            "by_kind": dict(sorted(ok.items())),
        }

    def _kinds(self) -> dict[str, dict[str, int]]:
        asked = _by(self.pairs, lambda key: key[2])
        ok = _by(self.pairs, lambda key: key[2] if key[0] == "ok" else None)
        return {kind: {"pairs": n, "pairs_ok": ok[kind]} for kind, n in sorted(asked.items())}


def _by(tally: Tally, name: Any) -> Counter[str]:
    """Sums by what `name` makes of keys; those of which it makes None are left out."""
    sums: Counter[str] = Counter()
    for key, number in tally.items():
        if (called := name(key)) is not None:
            sums[called] += number
    return sums


def spread(counts: Counter[int]) -> dict[str, float | int] | None:
    """Mean, median, 95th percentile (the least value that so many are not above) and largest; None of nothing."""
    total = counts.total()
    if not total:
        return None
    return {
        "mean": round(sum(value * n for value, n in counts.items()) / total, 1),
        "median": _quantile(counts, 0.5),
        "p95": _quantile(counts, 0.95),
        "most": max(counts),
    }


def _quantile(counts: Counter[int], share: float) -> int:
    seen, wanted = 0, share * counts.total()
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            return value
    return max(counts)


def text(numbers: dict[str, Any]) -> str:
    """The numbers as a table for a terminal."""
    names = ("images", "images_with_pairs", "pairs", "pairs_ok")
    lines = [["source", "images", "with pairs", "pairs", "usable"]]
    for row in numbers["by_source"]:
        place = f"{row['source'] or 'unknown'}, {row['modality'] or 'unknown'}"
        lines.append([place, *(str(row[name]) for name in names)])
    lines.append(["all", *(str(numbers[name]) for name in names)])
    words = [f"{name} {spread['mean']} (median {spread['median']}, at most {spread['most']})"
             for name, spread in numbers["words"].items() if spread]  # fmt: skip
    kinds = [f"{kind} {n['pairs_ok']} of {n['pairs']}" for kind, n in numbers["by_kind"].items()]
    rejected = [f"{n} {reason}" for reason, n in numbers["rejected"].items()]
    told = {"usable by kind": kinds, "words": words, "rejected pairs": rejected}
    return "\n".join([*aligned(lines), *(f"{name}: {', '.join(parts)}" for name, parts in told.items() if parts)])
