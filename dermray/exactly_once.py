"""Every row that went in came out once: the ids of the input against those that were written.

Counts of what was written cannot show it, because a lost row and a doubled one make the same count.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dermray.records import count_rows
from dermray.row_files import RowFiles, row_files

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = 5
BETWEEN = "\x1f"  # parts the columns of an id: no name holds it


@dataclass(frozen=True)
class Ids:
    """The ids in the Parquet files of some rows."""

    uri: str | RowFiles
    columns: tuple[str, ...]  # together they name a row
    where: Any = None  # pyarrow filter of the rows that count

    def names(self) -> Iterator[pa.Array]:
        """The ids, batch by batch."""
        # many small files are opened side by side, and of large ones little is held
        ahead = {"batch_size": 1 << 15, "batch_readahead": 4, "fragment_readahead": 16}
        for batch in self._batches(**ahead):
            texts = [pc.fill_null(pc.cast(batch.column(name), pa.string()), "null") for name in self.columns]
            yield pc.binary_join_element_wise(*texts, BETWEEN)

    def hashes(self) -> "np.ndarray":
        """Sorted, 8 bytes an id. At 10^7 ids two differ by name and not by hash with a chance of 3e-6."""
        import numpy as np

        hashes, end = np.empty(count_rows(self.uri, self.where), "uint64"), 0
        for names in self.names():
            hashes[end : end + len(names)] = _hashes(names)
            end += len(names)
        hashes.sort()
        return hashes

    def _batches(self, **how: Any) -> Iterator[pa.RecordBatch]:
        for scanner in row_files(self.uri).scanners(list(self.columns), self.where, **how):
            yield from scanner.to_batches()

    def examples(self, wanted: "np.ndarray") -> str:
        """The first names with one of the `wanted` hashes."""
        import numpy as np

        matches = (
            name
            for names in self.names()
            for name in names.filter(pa.array(np.isin(_hashes(names), wanted))).to_pylist()
        )
        shown = dict.fromkeys(matches) if len(wanted) <= EXAMPLES else islice(matches, EXAMPLES)
        return ", ".join(name.replace(BETWEEN, " ") for name in shown)


def _hashes(names: pa.Array) -> "np.ndarray":
    from pandas.util import hash_array

    return hash_array(names.to_numpy(zero_copy_only=False), categorize=False)


class Difference(NamedTuple):
    """Where what was written is not what went in."""

    missing: int
    double: int
    foreign: int  # ids written that no input row has
    text: str

    @property
    def only_missing(self) -> bool:
        """Whether what is there may stay."""
        return not (self.double or self.foreign)


def difference(expected: Ids, written: Ids) -> Difference | None:
    """None where every expected id was written once, and nothing else. Reads the ids alone. To be called in a
    Ray task: the hashes take 16 bytes a row, and Arrow's reading of 4 * 10^6 ids of 64 letters took 70 more.

    Raises:
        ValueError: ids of the input occur twice, so that nobody could tell.
    """
    import numpy as np

    asked, there = expected.hashes(), written.hashes()
    if len(twice := _repeated(asked)):
        raise ValueError(
            f"{expected.uri}: {len(twice)} ids occur more than once, such as {expected.examples(twice)}; make it again"
        )
    if np.array_equal(asked, there):
        return None
    missing, foreign, double = np.setdiff1d(asked, there), np.setdiff1d(there, asked), _repeated(there)
    parts = [
        (len(missing), f"of {len(asked)} rows are missing", expected.examples(missing)),
        (len(double), "occur more than once", written.examples(double)),
        (len(foreign), f"are no rows of {expected.uri}", written.examples(foreign)),
    ]
    said = "; ".join(f"{number} {what}, such as {names}" for number, what, names in parts if number)
    return Difference(len(missing), len(double), len(foreign), f"{written.uri}: {said}")


def shared(first: Ids, *others: Ids) -> Iterator[pa.Table]:
    """Ids, named by one column, that all of several have, in parts. Holds 8 bytes for each id of the others."""
    import numpy as np

    (column,), held = first.columns, [each.hashes() for each in others]
    for names in first.names():
        hashes = _hashes(names)
        everywhere = np.ones(len(names), bool)
        for ids in held:
            everywhere &= np.searchsorted(ids, hashes, "right") > np.searchsorted(ids, hashes, "left")
        yield pa.table({column: names.filter(pa.array(everywhere))})


def _repeated(sorted_hashes: "np.ndarray") -> "np.ndarray":
    import numpy as np

    return np.unique(sorted_hashes[1:][sorted_hashes[1:] == sorted_hashes[:-1]])
