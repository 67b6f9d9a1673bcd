"""Which rows a page shows: of each cell and reason those with the least ids, which are hashes. Always the same ones."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.columns import batches
from dermray.describe.clusters import COLUMNS as SHOWN
from dermray.picked import FILE
from dermray.records import kind
from dermray.row_files import RowFiles

PER_CELL = 6  # images of a class and tone
PER_REASON, REASONS = 4, 20  # examples of a reason, and reasons with examples
Row = dict[str, Any]


@dataclass(frozen=True)
class Chosen:
    """Rows (SHOWN, status, reason and FILE) by what they are examples of."""

    by_tone: dict[tuple[bool | None, str | None], list[Row]]  # of usable rows: by label and skin tone
    by_entity: dict[str | None, list[Row]]  # of usable rows
    by_reason: dict[tuple[str, str], list[Row]]  # of others: by status and kind of reason


class Few:
    """Of each key the rows with the least ids."""

    def __init__(self, most: int) -> None:
        self.most, self.rows = most, defaultdict[Any, list[Row]](list)

    def add(self, rows: pa.Table, keys: list[np.ndarray], name: Callable[..., Any]) -> None:
        """More rows, sorted by their ids.

        Args:
            keys: (N,) small numbers each. name: what a combination of these is kept under.
        """
        combined = np.ravel_multi_index(keys, shape := tuple(int(key.max(initial=0)) + 1 for key in keys))
        for value in np.unique(combined).tolist():
            places = np.flatnonzero(combined == value)[: self.most]
            key = name(*(int(part) for part in np.unravel_index(value, shape)))
            self.rows[key] += rows.take(pa.array(places)).to_pylist()
            self.rows[key] = sorted(self.rows[key], key=_order)[: self.most]


def choose(rows: str | RowFiles, statuses: Counter[Any]) -> Chosen:
    """In one reading of small columns.

    Args:
        statuses: of `Counts`.
    """
    often = Counter[tuple[str, str]]()
    for (_, status, reason), number in statuses.items():
        if status != "ok":
            often[status, reason] += number
    wanted = dict(sorted(often.most_common(REASONS)))
    tones, entities, reasons = Few(PER_CELL), Few(PER_CELL), Few(PER_REASON)
    for batch in batches(rows, ["status", "reason", *SHOWN, FILE]):
        table = pa.Table.from_batches([batch]).sort_by([("sample_id", "ascending"), ("source_id", "ascending")])
        usable = pc.equal(table["status"], "ok")
        ok, other = table.filter(usable), table.filter(pc.invert(usable))
        label, tone, entity = (_coded(ok[name]) for name in ("malignant", "skin_tone", "entity"))
        tones.add(ok, [label[0], tone[0]], lambda a, b, of=(label[1], tone[1]): (of[0][a], of[1][b]))
        entities.add(ok, [entity[0]], lambda a, of=entity[1]: of[a])
        status, reason = _coded(other["status"]), _coded(other["reason"])
        kinds = list(dict.fromkeys(text and kind(text) for text in reason[1]))  # each text may be one row's own
        kinds_of = np.array([kinds.index(text and kind(text)) for text in reason[1]])[reason[0]]
        reasons.add(other, [status[0], kinds_of], lambda a, b, of=(status[1], kinds): (of[0][a], of[1][b]))
        reasons.rows = defaultdict(list, {key: some for key, some in reasons.rows.items() if key in wanted})
    return Chosen(dict(tones.rows), dict(entities.rows), {key: reasons.rows[key] for key in wanted})


def same_bytes(rows: str | RowFiles, ids: set[str]) -> dict[str, list[Row]]:
    """All rows of some images, usable or not, by the image."""
    found: dict[str, list[Row]] = defaultdict(list)
    wanted = pa.array(sorted(ids), pa.string())
    for batch in batches(rows, ["status", "reason", *SHOWN], pc.field("sample_id").isin(wanted)):
        for row in batch.to_pylist():
            found[row["sample_id"]].append(row)
    return {image: sorted(some, key=_order) for image, some in found.items()}


def _order(row: Row) -> tuple[bool, str, str, str]:
    return row["sample_id"] is None, row["sample_id"] or "", row["source"] or "", row["source_id"] or ""


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[Any]]:
    """A number for each row, and what each number stands for."""
    if pa.types.is_boolean(column.type):
        numbers = np.asarray(pc.fill_null(pc.cast(column, pa.int8()), 2)).astype(np.int64)
        return numbers, [False, True, None]
    encoded = column.combine_chunks().dictionary_encode()
    words = [*encoded.dictionary.to_pylist(), None]
    return np.asarray(encoded.indices.fill_null(len(words) - 1)).astype(np.int64), words
