"""Every row that went in came out once: the ids of the input against those that were written.

Counts of what was written cannot show it, because a lost row and a doubled one make the same count.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dermray.columns import batches
from dermray.row_files import RowFiles

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = 5
BETWEEN = "\x1f"  # parts the columns of an id: no name holds it
Mask = Callable[["np.ndarray"], "np.ndarray"]  # which of these hashes


@dataclass(frozen=True)
class Ids:
    """The ids in the Parquet files of some rows."""

    uri: str | RowFiles
    columns: tuple[str, ...]  # together they name a row
    where: Any = None  # pyarrow filter of the rows that count, over their column `status`

    def names(self) -> Iterator[pa.Array]:
        """The ids, batch by batch."""
        read = [*self.columns] if self.where is None else [*self.columns, "status"]
        for batch in batches(self.uri, read, self.where):
            yield joined(batch, self.columns)

    def examples(self, wanted: Mask) -> str:
        """The first names whose hashes are `wanted`."""
        matches = (name for names in self.names() for name in names.filter(pa.array(wanted(hashes(names)))).to_pylist())
        shown = islice(_distinct(matches), EXAMPLES)
        return ", ".join(name.replace(BETWEEN, " ") for name in shown)


def _distinct(names: Iterator[str]) -> Iterator[str]:
    seen = set[str]()
    for name in names:
        if name not in seen:
            seen.add(name)
            yield name


def joined(rows: pa.RecordBatch | pa.Table, columns: tuple[str, ...]) -> pa.Array:
    """A name for each row, of what the columns hold."""
    texts = [pc.fill_null(pc.cast(rows.column(name), pa.string()), "null") for name in columns]
    return pc.binary_join_element_wise(*texts, BETWEEN)


def hashes(names: pa.Array) -> "np.ndarray":
    """64 bits of each, the same in every process."""
    from pandas.util import hash_array

    return hash_array(names.to_numpy(zero_copy_only=False), categorize=False)


def sorted_hashes(parts: Iterable[pa.Array]) -> "np.ndarray":
    """Of all ids that come in parts: 8 bytes each and, while they come, at most a sixteenth more."""
    import numpy as np

    found = array("Q")  # it grows in place, where the kernel moves pages instead of copying them
    for names in parts:
        found.frombytes(hashes(names).view("uint8").data)
    numbers = np.frombuffer(found, "uint64")
    numbers.sort()
    return numbers


def distinct(numbers: "np.ndarray") -> int:
    """How many different ones there are among sorted ones; holds a byte for each."""
    import numpy as np

    return len(numbers) and 1 + int(np.count_nonzero(numbers[1:] != numbers[:-1]))


class _Times:
    """How often each expected id was written: 9 bytes an id, a hash of 64 bits and a count that ends at 2.

    Two of 10^7 ids have one hash with a chance of 3e-6: these are said to occur twice. So all hashes differ, and a lost
    id is overlooked only where one that nobody expected was written and has its hash: 5e-20 for each such pair.
    """

    def __init__(self, expected: Ids) -> None:
        """Raises ValueError: ids of the input occur twice, so that nobody could tell."""
        import numpy as np

        self.hashes = sorted_hashes(expected.names())
        same = self.hashes[1:] == self.hashes[:-1]
        if twice := np.count_nonzero(same[:1]) + np.count_nonzero(same[1:] > same[:-1]):  # runs of them
            named = expected.examples(self._repeated)
            raise ValueError(f"{expected.uri}: {twice} ids occur more than once, such as {named}; make it again")
        self.written = np.zeros(len(self.hashes), "uint8")

    def add(self, hashes: "np.ndarray") -> int:
        """Count these as written; how many of them nobody expected."""
        import numpy as np

        places, known = self._find(hashes)
        places, numbers = np.unique(places[known], return_counts=True)
        self.written[places] = np.minimum(self.written[places] + numbers, 2)
        return len(hashes) - int(np.count_nonzero(known))

    def count(self, times: int) -> int:
        """How many ids were written so often."""
        import numpy as np

        return int(np.count_nonzero(self.written == times))

    def are(self, times: int) -> Mask:
        """Which hashes are of ids written so often."""

        def mask(hashes: "np.ndarray") -> "np.ndarray":
            places, known = self._find(hashes)
            known[known] = self.written[places[known]] == times
            return known

        return mask

    def foreign(self, hashes: "np.ndarray") -> "np.ndarray":
        """Which hashes are of no expected id."""
        known: np.ndarray = self._find(hashes)[1]
        return ~known

    def _find(self, hashes: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
        """Where they are, and whether they are there at all."""
        import numpy as np

        places = np.searchsorted(self.hashes, hashes)
        known = places < len(self.hashes)
        known[known] = self.hashes[places[known]] == hashes[known]
        return places, known

    def _repeated(self, hashes: "np.ndarray") -> "np.ndarray":
        import numpy as np

        return np.searchsorted(self.hashes, hashes, "right") - np.searchsorted(self.hashes, hashes, "left") > 1


class Difference(NamedTuple):
    """Where what was written is not what went in."""

    missing: int  # ids
    double: int  # ids
    foreign: int  # rows written whose id no input row has
    text: str

    @property
    def only_missing(self) -> bool:
        """Whether what is there may stay."""
        return not (self.double or self.foreign)


def difference(expected: Ids, written: Ids) -> Difference | None:
    """None where every expected id was written once, and nothing else. Reads the ids alone, and holds 9 bytes for each
    that is expected. To be called in a Ray task.

    Raises:
        ValueError: ids of the input occur twice, so that nobody could tell.
    """
    times = _Times(expected)
    foreign = sum(times.add(hashes(names)) for names in written.names())
    missing, double = times.count(0), times.count(2)
    if not (missing or double or foreign):
        return None
    parts = [
        (missing, f"of {len(times.hashes)} rows are missing", expected, times.are(0)),
        (double, "occur more than once", written, times.are(2)),
        (foreign, f"are no rows of {expected.uri}", written, times.foreign),
    ]
    said = "; ".join(f"{number} {what}, such as {ids.examples(mask)}" for number, what, ids, mask in parts if number)
    return Difference(missing, double, foreign, f"{written.uri}: {said}")


def shared(first: Ids, *others: Ids) -> Iterator[pa.Table]:
    """Ids, named by one column, that all of several have, in parts. Holds 8 bytes for each id of the others."""
    import numpy as np

    (column,), held = first.columns, [sorted_hashes(each.names()) for each in others]
    for names in first.names():
        mine, everywhere = hashes(names), np.ones(len(names), bool)
        for ids in held:
            everywhere &= np.searchsorted(ids, mine, "right") > np.searchsorted(ids, mine, "left")
        yield pa.table({column: names.filter(pa.array(everywhere))})
