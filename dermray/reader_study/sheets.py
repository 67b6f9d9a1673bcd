"""Tables that readers send back, CSV or Excel, as lines of texts."""

import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from dermray import storage
from dermray.datasets import tables
from dermray.datasets.cells import plain
from dermray.reader_study.form import require_openpyxl
from dermray.records import kind

WORKBOOKS = (".xlsx", ".xlsm")
Line = tuple[str, dict[str, str]]  # how messages name it, and its cells by column


def lines_of(uri: str, required: Iterable[str], optional: Iterable[str]) -> list[Line]:
    """All lines that say anything.

    Raises:
        FileNotFoundError, PermissionError: it cannot be read. ValueError: no table, or other columns.
        ImportError: a workbook without openpyxl.
    """
    if not storage.exists(uri):
        raise FileNotFoundError(f"answers={uri}: no such file")
    if storage.is_directory(uri):
        raise ValueError(f"answers={uri}: a directory, expected a reader's CSV file or Excel workbook")
    found = _of_workbook if uri.lower().endswith(WORKBOOKS) else _of_text
    lines = [(place, cells) for place, cells in found(uri, list(required), list(optional)) if any(cells.values())]
    if not lines:
        raise ValueError(f"{uri}: a header and no answers")
    return lines


def _of_text(uri: str, required: list[str], optional: list[str]) -> Iterator[Line]:
    table = tables.open_table(uri, required, optional)
    for chunk in tables.survey(table).chunks:
        for record in tables.records(table, chunk):
            if record.problem:
                raise ValueError(f"{table.place(record.line)}: {kind(record.problem)}")
            yield table.place(record.line), {name: cell.strip() for name, cell in table.values(record).items()}


def _of_workbook(uri: str, required: list[str], optional: list[str]) -> Iterator[Line]:
    """The first sheet, or the one that is called answers."""
    require_openpyxl()
    sheet = _sheet(uri)
    rows = sheet.iter_rows(values_only=True)
    header = [_text(cell) for cell in next(rows, ())]
    places = _places(uri, header, required, optional)
    for number, row in enumerate(rows, start=2):
        cells = {name: _text(row[place]) if place < len(row) else "" for name, place in places.items()}
        yield f"{uri.rpartition('/')[2]} line {number}", cells


def _sheet(uri: str) -> Any:
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        # formulas as the values that Excel last showed
        book = load_workbook(io.BytesIO(storage.read_bytes(uri)), data_only=True)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError) as error:
        raise ValueError(f"{uri}: no Excel workbook ({error}); save the answers as .xlsx or CSV") from None
    return book["answers"] if "answers" in book.sheetnames else book.worksheets[0]


def _text(cell: Any) -> str:
    """A cell as a person sees it: Excel keeps 80 as 80.0."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell).strip()


def _places(uri: str, header: list[str], required: list[str], optional: list[str]) -> dict[str, int]:
    """Columns by their names, whatever their case and spaces.

    Raises:
        ValueError: one is missing, or there twice.
    """
    written = [plain(name).replace(" ", "_") for name in header]
    twice = [name for name, count in Counter(written).items() if count > 1 and name]
    if twice:
        raise ValueError(f"{uri}: columns {twice} are there more than once; give each a name of its own")
    if missing := [name for name in required if plain(name) not in written]:
        raise ValueError(f"{uri}: columns {missing} are missing; the table has {[name for name in header if name]}")
    return {name: written.index(plain(name)) for name in [*required, *optional] if plain(name) in written}
