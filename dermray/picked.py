"""Some rows out of many, and their images: which ones is decided in small columns, and other images are not read."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from dermray import s3, storage
from dermray.page_index import PagedColumn
from dermray.row_files import RowFiles, row_files

FILE = "__filename"  # pyarrow's column of where a row lies
AHEAD = 8  # files or requests at once: in S3 each waits some 30 ms
In = TypeVar("In")
Out = TypeVar("Out")


def pick(rows: str | RowFiles, columns: list[str], where: Any, most: int | None = None) -> pa.Table:
    """The rows with the least sample ids, which are hashes: always the same ones, in the same order. Holds little more
    than twice what it returns.

    Args:
        columns: without `image`. where: pyarrow dataset filter. most: rows, if not all.

    Returns:
        sample_id, `columns`, and what `images` needs.
    """
    names = list(dict.fromkeys(["sample_id", *columns, FILE]))
    return least(_tables(rows, names, where), most)


class Least:
    """The `most` rows with the least sample ids, or all, of tables that come one by one."""

    def __init__(self, most: int | None) -> None:
        self.most, self.chosen = most, list[pa.Table]()

    def add(self, table: pa.Table) -> None:
        """One more; holds little more than twice what is wanted."""
        if len(table) or not self.chosen:  # of most files nothing may be wanted, and an empty table takes kilobytes
            self.chosen.append(table)
        if self.most is not None and sum(map(len, self.chosen)) > 2 * self.most + 4096:
            self.chosen = [self.rows()]

    def rows(self) -> pa.Table:
        """In the order of their ids."""
        return pa.concat_tables(self.chosen, promote_options="default").sort_by("sample_id").slice(0, self.most)


def least(tables: Iterable[pa.Table], most: int | None) -> pa.Table:
    """The `most` rows with the least sample ids, or all, in order."""
    chosen = Least(most)
    for table in tables:
        chosen.add(table)
    return chosen.rows()


def _tables(rows: str | RowFiles, names: list[str], where: Any) -> Iterator[pa.Table]:
    for scanner in row_files(rows).scanners(names, where):
        yield scanner.projected_schema.empty_table()
        for batch in scanner.to_batches():
            yield pa.Table.from_batches([batch])


def images(picked: pa.Table) -> Iterator[tuple[int, bytes]]:
    """Each row's place in `picked`, and its encoded image: file by file, and few are held at once.

    Files that an earlier version of dermray wrote are read whole.

    Raises:
        ValueError: a row has no image, or a file is damaged or has changed since.
    """
    places: dict[str, dict[str, list[int]]] = {}
    for place, (file, sample) in enumerate(zip(picked[FILE].to_pylist(), picked["sample_id"].to_pylist(), strict=True)):
        places.setdefault(file, {}).setdefault(sample, []).append(place)
    with ThreadPoolExecutor(AHEAD) as pool:
        opened = _ahead(pool, lambda item: s3.again(lambda: list(_reads(*item))), places.items())
        for some in _ahead(pool, lambda read: s3.again(lambda: list(read())), chain.from_iterable(opened)):
            yield from some


def _ahead(pool: ThreadPoolExecutor, function: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
    """`map` in threads, that never holds more than AHEAD results."""
    left = iter(items)
    while some := list(islice(left, AHEAD)):
        yield from pool.map(function, some)


def _reads(path: str, places: dict[str, list[int]]) -> Iterator[Callable[[], Iterator[tuple[int, bytes]]]]:
    """What is to be called for the images of one file, a request each."""
    system, _ = storage.filesystem(path if path.startswith("/") else f"s3://{path}")
    source = system.open_input_file(path)
    file = pq.ParquetFile(source)
    samples = file.read(["sample_id"])["sample_id"].to_pylist()
    wanted = {row: places[sample] for row, sample in enumerate(samples) if sample in places}
    if missing := len(places.keys() - set(samples)):
        raise ValueError(f"{path}: {missing} rows are missing that were there when they were chosen; start again")
    column = PagedColumn.open(source, file, "image")
    if column is None:
        yield partial(_placed, _column(file), wanted)
    else:
        for request in column.requests(list(wanted)):
            yield partial(_placed, column.values(request), wanted)


def _column(file: pq.ParquetFile) -> Iterator[tuple[int, bytes | None]]:
    """All rows' images."""
    batches = file.iter_batches(columns=["image"], batch_size=64)
    return enumerate(value.as_py() for batch in batches for value in batch.column(0))


def _placed(values: Iterable[tuple[int, bytes | None]], wanted: dict[int, list[int]]) -> Iterator[tuple[int, bytes]]:
    for row, image in values:
        for place in wanted.get(row, ()):
            if image is None:
                raise ValueError(f"row {row} of its file has no image; choose among rows with status ok")
            yield place, image


def take(picked: pa.Table) -> list[bytes]:
    """All of `images`, in order: for few."""
    encoded = dict(images(picked))
    return [encoded[place] for place in range(len(picked))]


def with_images(picked: pa.Table) -> pa.Table:
    """A small table of `pick` with its column `image`."""
    return picked.drop_columns(FILE).append_column("image", pa.array(take(picked), pa.binary()))
