"""Which new questions are taken: one after the other in the order of the images' ids, each unlike all before it.

The order is that of hashes, so the outcome depends neither on workers nor on blocks nor on where a job was killed. The
rows come in ranges of ids; held are one range, and the questions that were taken, whose number config bounds.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dermray import storage
from dermray.columns import batches, batches_of
from dermray.records import AT
from dermray.row_files import RowFiles
from dermray.vlm.instruct.self_instruct import KIND
from dermray.vlm.instruct.similarity import Similarity

SIMILAR = "too similar to a question that was asked before"
ENOUGH = "more new questions than self_instruct.most_questions"
ROWS_AT_ONCE = 500_000  # of one range, a kilobyte each
DIGITS = 8  # of a sample id, by which ranges are cut


class Taken:
    """Questions that new ones must be unlike."""

    def __init__(self, measure: Similarity, seeds: Iterable[str], most: int) -> None:
        self.measure, self.most, self.new = measure, most, 0
        self.pool, self.texts = measure.pool(), list[str]()
        self.counts: Counter[str] = Counter()
        given = list(seeds)
        for text, feature in zip(given, measure.features(given), strict=True):
            self._add(text, feature)

    def judge(self, question: str, feature: bytes) -> str | None:
        """Why a question is not taken; or None, and it is from now on."""
        near = self.pool.nearest(feature)
        if near and near[1] >= self.measure.threshold:
            self.counts["too_similar"] += 1
            return f"{SIMILAR}{AT}{self.texts[near[0]]}"
        if self.new == self.most:
            self.counts["over_the_most"] += 1
            return ENOUGH
        self._add(question, feature)
        self.new += 1
        self.counts["taken"] += 1
        return None

    def _add(self, text: str, feature: bytes) -> None:
        self.pool.add(feature)
        self.texts.append(text)

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of CANDIDATES with its pairs judged, in their order."""
        judged = []
        for pair, feature in zip(row["pairs"], row["features"], strict=True):
            self.counts["candidates"] += 1
            reason = self.judge(pair["question"], feature) if pair["status"] == "ok" else pair["reason"]
            self.counts["rejected_before"] += pair["status"] != "ok"
            judged.append(pair | {"status": "rejected" if reason else "ok", "reason": reason})
        return row | {"pairs": judged}


def asked_before(rows: str | RowFiles | None) -> Iterator[str]:
    """New questions that an earlier result took already, whose rows are kept."""
    if rows is None:
        return
    for batch in batches(rows, ["pairs", "status"], pc.field("status") == "ok"):
        for pairs in batch["pairs"].to_pylist():
            yield from (pair["question"] for pair in pairs or () if pair["kind"] == KIND and pair["status"] == "ok")


def in_order(directory: str, columns: list[str]) -> Iterator[dict[str, Any]]:
    """All rows of a directory of Parquet files in the order of their ids."""
    files = storage.list_files(directory, ".parquet")
    for where in _ranges(sum(map(_rows, files))):
        parts = list(batches_of(files, columns, where))
        if parts:
            for batch in pa.Table.from_batches(parts).sort_by("sample_id").to_batches(max_chunksize=1000):
                yield from batch.to_pylist()


def _rows(file: str) -> int:
    with storage.open_parquet(file) as parquet:
        return int(parquet.metadata.num_rows)


def _ranges(rows: int) -> Iterator[Any]:
    """Filters of ids, which are hashes: each lets about as many pass."""
    parts = max(1, -(-rows // ROWS_AT_ONCE))
    edges = [f"{16**DIGITS * part // parts:0{DIGITS}x}" for part in range(parts)]
    for low, high in zip(edges, [*edges[1:], "g"], strict=True):  # no digit is above g
        yield (pc.field("sample_id") >= low) & (pc.field("sample_id") < high)
