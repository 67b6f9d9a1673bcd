"""Tables as people write them: any delimiter, encoding and line ending, read in chunks whose lines keep their numbers.

A table is read once from end to end before anything starts: that pass finds the encoding, the places where chunks
begin and the words of chosen columns. It keeps a few numbers per chunk and nothing per row.
"""

import codecs
import csv
import difflib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from dermray import storage
from dermray.archives import paths as archives
from dermray.datasets.cells import plain
from dermray.records import AT

ROWS_PER_CHUNK = 512  # a task's share: rows are few bytes, but each brings an image of some hundred kilobytes
WORDS_KEPT = 2000  # distinct words of a watched column that are remembered, for messages
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
SNIFFED_LINES = 20
NOT_TEXT = {
    b"PK\x03\x04": "an Excel workbook or ZIP file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "a gzip file",
    b"PAR1": "a Parquet file",
}


class Chunk(NamedTuple):
    """Where some rows lie: byte offset, lines before it, number of records."""

    offset: int
    line: int
    records: int


class Record(NamedTuple):
    """One row of the table: the line where it begins, its cells, or what is wrong with them."""

    line: int
    cells: list[str]
    problem: str | None
    last: int = 0  # the line where it ends: a quoted cell may hold line ends


@dataclass(frozen=True)
class Table:
    """A table whose header was read: `columns` as written, `positions` of those that are read, by our name."""

    path: str
    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    positions: Mapping[str, int]
    header: Chunk  # where the rows begin
    # cells of a line -> cells of each image that it names; see `several_images`
    images: Callable[[dict[str, str]], list[dict[str, str]]] | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]

    @property
    def columns_not_read(self) -> list[str]:
        """What the table says and nobody reads."""
        read = set(self.positions.values())
        return [name for i, name in enumerate(self.columns) if i not in read and name.strip()]

    def place(self, line: int) -> str:
        """How messages name a row."""
        return f"{self.name} line {line}"

    def values(self, record: Record) -> dict[str, str]:
        """The cells that are read, by our names."""
        return {name: record.cells[position] for name, position in self.positions.items()}

    def values_by_image(self, record: Record) -> list[dict[str, str]]:
        """The same for each row that the line becomes: one, unless it names several images."""
        values = self.values(record)
        return [values] if self.images is None else self.images(values)


@dataclass(frozen=True)
class Survey:
    """What the pass over a whole table found."""

    table: Table
    chunks: list[Chunk]
    rows: int
    bad_rows: int
    words: dict[str, Counter[str]]  # of watched columns, as first written

    def facts(self) -> dict[str, Any]:
        """For the manifest and for the eyes of who started the run."""
        return {
            "path": self.table.path,
            "rows": self.rows,
            "bad_rows": self.bad_rows,
            "encoding": self.table.encoding,
            "delimiter": DELIMITERS.get(self.table.delimiter, self.table.delimiter),
            "columns_not_read": self.table.columns_not_read,
        }


def open_table(
    path: str,
    required: Iterable[str],
    optional: Iterable[str] = (),
    encoding: str | None = None,
    delimiter: str | None = None,
    columns: Iterable[str] | None = None,
) -> Table:
    """A table by its header. Columns are named `a` or `a|b`, which also matches a column b, and is read as `a`.

    Args:
        columns: of a table without a header, whose first line is a row.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no text, no header, a required column is missing, or a column's name occurs twice.
    """
    if not storage.exists(path):
        *_, folder = archives.with_only_folder(path.rpartition("/")[0])  # the one that an archive holds, as many do
        hint = f", or give {folder}" if storage.exists(storage.join(folder, path.rpartition("/")[2])) else ""
        raise FileNotFoundError(f"{path}: no such metadata table; check the source's path{hint}")
    required = list(required)
    mark, encoding = _encoding(path, encoding)
    table = Table(path, encoding, delimiter or ",", tuple(columns or ()), {}, Chunk(len(mark), 0, 0))
    if columns is not None:
        return replace(table, positions=_positions(table, required, list(optional)))
    headed = _with_header(table if delimiter else replace(table, delimiter=_sniffed(table, required)))
    return replace(headed, positions=_positions(headed, required, list(optional)))


def survey(table: Table, watched: Mapping[str, Iterable[str]] | None = None) -> Survey:
    """Read all of the table once. `watched` are columns whose words are counted, with those that must not be missed.

    Raises:
        ValueError: a quotation mark that is never closed, or no row.
    """
    chunks, start, count, bad = list[Chunk](), table.header, 0, 0
    words: dict[str, Counter[str]] = {name: Counter() for name in watched or {}}
    wanted = {name: set(map(plain, must)) for name, must in (watched or {}).items()}
    written: dict[tuple[str, str], str] = {}  # plain word -> as first written
    for record, before in _records(table, table.header):
        if count == ROWS_PER_CHUNK:
            chunks.append(start._replace(records=count))
            start, count = before, 0
        count, bad = count + 1, bad + (record.problem is not None)
        for name, counts in words.items() if record.problem is None else ():
            word = record.cells[table.positions[name]].strip()
            shown = written.get((name, plain(word)), word)
            if shown in counts or len(counts) < WORDS_KEPT or plain(word) in wanted[name]:
                counts[written.setdefault((name, plain(word)), shown)] += 1
    if not count:
        raise ValueError(f"{table.path}: the table has {'a header and no rows' if table.header.offset else 'no rows'}")
    chunks.append(start._replace(records=count))
    return Survey(table, chunks, sum(chunk.records for chunk in chunks), bad, words)


def records(table: Table, chunk: Chunk) -> Iterator[Record]:
    """The rows of a chunk."""
    for count, (record, _) in enumerate(_records(table, chunk), start=1):
        yield record
        if count == chunk.records:
            return


def lookup(found: Survey, key: str) -> dict[str, dict[str, str]]:
    """A whole table by one of its columns: for tables that others look up, held in memory.

    Raises:
        ValueError: a key that is there twice, or a row that cannot be read.
    """
    table, by_key = found.table, dict[str, dict[str, str]]()
    for chunk in found.chunks:
        for record in records(table, chunk):
            if record.problem:
                raise ValueError(f"{table.path}: {record.problem}")
            values = table.values(record)
            if values[key].strip() in by_key:
                raise ValueError(f"{table.place(record.line)}: {key}={values[key]!r} is there a second time")
            by_key[values[key].strip()] = values
    return by_key


def several_images(found: Survey, images: Callable[[dict[str, str]], list[dict[str, str]]]) -> Survey:
    """A table whose lines name several images each, and whose rows are these.

    Args:
        images: cells of a line -> cells of each of its images, at least one; a function that can be pickled.
    """
    table = replace(found.table, images=images)
    read = (record for chunk in found.chunks for record in records(table, chunk))
    return replace(found, table=table, rows=sum(1 if r.problem else len(table.values_by_image(r)) for r in read))


def coverage(found: Survey, key: str, known: Mapping[str, Any]) -> dict[str, int]:
    """How many rows a looked-up table knows nothing of, and how many of its own nobody asked for.

    Raises:
        ValueError: the two tables have no key in common.
    """
    unused, unknown = set(known), 0
    for chunk in found.chunks:
        for record in records(found.table, chunk):
            name = "" if record.problem else found.table.values(record)[key].strip()
            unused.discard(name)
            unknown += name not in known
    if unknown == found.rows:
        raise ValueError(f"{found.table.path}: none of its {unknown} rows is in the table of labels; do they pair?")
    return {"rows_without_label": unknown, "labels_without_row": len(unused)}


def _encoding(path: str, given: str | None) -> tuple[bytes, str]:
    """A byte order mark and the encoding in which all of the file is text: UTF-8 or UTF-16, else Windows-1252."""
    with _stream(path) as stream:
        start = bytes(stream.read(1 << 12))
    for magic, kind in NOT_TEXT.items():
        if start.startswith(magic):
            raise ValueError(f"{path}: {kind}, expected a table as text; export it as CSV (UTF-8)")
    mark, encoding = _byte_order_mark(start)
    if mark:  # by their names, Python would count a mark with every line
        given = None
    guesses = [given] if given else [encoding, "cp1252"] if encoding == "utf-8" else [encoding]
    for guess in guesses:
        if _decodes(path, guess):
            if guess != encoding and not given:
                _require_one_encoding(path)
            return mark if guess == encoding else b"", guess
    raise ValueError(
        f"{path}: no {' or '.join(guesses)} text; save the table as UTF-8, or name its encoding with `encoding`"
    )


def _byte_order_mark(start: bytes) -> tuple[bytes, str]:
    """Its bytes and the encoding that they announce. UTF-16 without one shows by its zero bytes."""
    marks = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
    for mark, encoding in marks.items():
        if start.startswith(mark):
            return mark, encoding
    if start[1::2].count(0) > len(start) // 4:
        return b"", "utf-16-le"
    return b"", "utf-16-be" if start[::2].count(0) > len(start) // 4 else "utf-8"


def _decodes(path: str, encoding: str) -> bool:
    """Whether the whole file is text of this encoding: the one byte that is not may stand in its last line."""
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
    except LookupError:
        raise ValueError(f"encoding={encoding!r}: expected a name that Python knows, such as utf-8 or cp1252") from None
    with _stream(path) as stream:
        try:
            while piece := stream.read(1 << 22):
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _require_one_encoding(path: str) -> None:
    """A file in UTF-8 but for a few bytes is no Windows-1252, as which every accent in it would become two letters."""
    decoder, letters, strange, line = codecs.getincrementaldecoder("utf-8")("replace"), 0, 0, 1
    first = 0
    with _stream(path) as stream:
        while piece := stream.read(1 << 22):
            for character in decoder.decode(piece):
                line += character == "\n"
                letters += ord(character) > 127
                strange += character == "\ufffd"
                first = first or (line if strange else 0)
    if letters - strange > strange:
        raise ValueError(
            f"{path}: UTF-8 but for {strange} byte(s), the first in line {first}; mend them, or name the table's "
            "encoding with `encoding`"
        )


def _stream(path: str) -> Any:
    system, inner = storage.filesystem(path)
    return system.open_input_stream(inner, compression=None)


def _sniffed(table: Table, required: list[str]) -> str:
    """The delimiter under which the header names most of the required columns, then the most even one."""
    with _stream(table.path) as stream:
        start = bytes(stream.read(1 << 16))[table.header.offset :]
    lines = start.decode(table.encoding, "ignore").splitlines(keepends=True)
    lines = lines[: max(1, len(lines) - 1)]  # the last one may be cut

    def likelihood(delimiter: str) -> tuple[int, float, int]:
        read = [cells for cells in csv.reader(lines, delimiter=delimiter) if cells][: SNIFFED_LINES + 1]
        header = replace(table, columns=tuple(cell.strip() for cell in read[0])) if read else table
        named = sum(_find(header, column) is not None for column in required)
        even = sum(len(cells) == len(header.columns) for cells in read) / max(1, len(read))
        return named, even if len(header.columns) > 1 else 0.0, len(header.columns)

    return max(DELIMITERS, key=likelihood)


class _Lines:
    """Lines of text from a byte offset on; knows where the next one begins."""

    def __init__(self, text: Iterable[str], encoding: str, start: Chunk) -> None:
        self.text, self.encoding, self.offset, self.line = iter(text), encoding, start.offset, start.line

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self.text)
        self.offset, self.line = self.offset + len(line.encode(self.encoding)), self.line + 1
        return line


def _raw_records(table: Table, start: Chunk) -> Iterator[tuple[Record, Chunk]]:
    """Records from `start` to the table's end, blank lines left out, each with the place where it begins."""
    system, inner = storage.filesystem(table.path)
    with system.open_input_file(inner) as file:
        file.seek(start.offset)
        text = io.TextIOWrapper(io.BufferedReader(file, 1 << 18), table.encoding, newline="")  # line ends kept
        lines = _Lines(text, table.encoding, start)
        reader = csv.reader(lines, delimiter=table.delimiter, strict=True)
        while True:
            before = Chunk(lines.offset, lines.line, 0)
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "end of data" in str(error):  # all rows to the end are in this one
                    raise _never_closed(table, before.line + 1, lines.line) from None
                yield Record(before.line + 1, [], str(error), lines.line), before
                continue
            if cells:
                yield Record(before.line + 1, cells, None, lines.line), before


def _records(table: Table, start: Chunk) -> Iterator[tuple[Record, Chunk]]:
    """Records with one cell per column, or with what is wrong with them."""
    wanted = len(table.columns)
    for record, before in _raw_records(table, start):
        line, cells, problem, last = record
        if len(cells) > wanted and not any(cell.strip() for cell in cells[wanted:]):
            cells = cells[:wanted]  # a delimiter at the line's end
        if problem is not None:
            problem = f"table row cannot be read, check its quotation marks{AT}{table.place(line)}: {problem}"
        elif len(cells) != wanted:
            problem = (
                f"table row of {len(cells)} cells, expected the header's {wanted}; "
                f"complete it, or quote the cell that holds the delimiter{AT}{table.place(line)}"
            )
        if last > line and (problem is not None or _swallows_rows(cells, table.delimiter)):
            raise _never_closed(table, line, last)  # one stray mark can swallow any number of rows
        yield Record(line, cells, problem, last), before


def _swallows_rows(cells: list[str], delimiter: str) -> bool:
    """Whether each line of a record would be a whole record by itself: two stray marks can make two rows fit as one.
    Of two columns or fewer nobody could tell it from a text of several lines."""
    lines = re.split(r"\r\n|\r|\n", delimiter.join(cells))
    return len(cells) > 2 and all(line.count(delimiter) == len(cells) - 1 for line in lines)


def _never_closed(table: Table, first: int, last: int) -> ValueError:
    return ValueError(
        f"{table.path} line {first}: lines {first} to {last} read as one row, because a quotation mark is not closed; "
        "close or remove it"
    )


def _with_header(table: Table) -> Table:
    """The table with the columns that its first record names; blank lines before it are passed over."""
    records = _raw_records(table, table.header)
    first, _ = next(records, (None, None))
    if first is None:
        raise ValueError(f"{table.path}: the table is empty; expected a line of column names")
    if first.problem:
        raise ValueError(f"{table.path} line {first.line}: the header cannot be read ({first.problem})")
    _, rest = next(records, (None, None))
    end = rest or Chunk(storage.filesystem(table.path)[0].get_file_info(storage.filesystem(table.path)[1]).size, 0, 0)
    return replace(table, columns=tuple(name.strip() for name in first.cells), header=end)


def _column_key(name: str) -> str:
    return "_".join(plain(name).replace("_", " ").replace("-", " ").split())


def _find(table: Table, column: str) -> int | None:
    """Position of `a` or `a|b`: as written, or else as the only one that differs in case, space, - and _ alone."""
    for name in column.split("|"):
        if name in table.columns:
            return table.columns.index(name)
        alike = [i for i, own in enumerate(table.columns) if _column_key(own) == _column_key(name)]
        if len(alike) == 1:
            return alike[0]
    return None


def _positions(table: Table, required: list[str], optional: list[str]) -> dict[str, int]:
    twice = [name for name, count in Counter(table.columns).items() if count > 1 and name]
    if twice:
        raise ValueError(f"{table.path}: columns {twice} are there more than once; give each a name of its own")
    found = {column.split("|")[0]: _find(table, column) for column in [*required, *optional]}
    missing = [column.split("|")[0] for column in required if found[column.split("|")[0]] is None]
    if missing:
        nearest = [near for name in missing for near in difflib.get_close_matches(name, table.columns, n=2)]
        raise ValueError(
            f"{table.path}: columns {missing} are missing"
            + (f" (the nearest: {nearest})" if nearest else "")
            + f"; the table has {list(table.columns)}"
        )
    return {name: position for name, position in found.items() if position is not None}
