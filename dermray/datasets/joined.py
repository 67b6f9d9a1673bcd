"""Tables that know more of another table's rows: publishers keep labels, lesions and metadata apart."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from dermray.datasets import tables
from dermray.datasets.cells import Cells
from dermray.datasets.sources import Row, TableConfig, open_table

Lines = Mapping[str, Mapping[str, str]]  # a table's cells, by the key under which others know them


class Opened(NamedTuple):
    """A source's tables, read through once: its rows are `to_row(cells, config=...)` of each line of `found`."""

    found: tables.Survey
    to_row: Callable[..., Row]
    facts: dict[str, Any]


def beside(
    config: TableConfig, found: tables.Survey, name: str, key: str, columns: Iterable[str]
) -> tuple[Lines, dict[str, Any]]:
    """The table `name` by a column that it shares with a source's own, and for the manifest how well the two pair.

    Raises:
        FileNotFoundError, ValueError: it cannot be read, says a key twice, or has none in common.
    """
    other = open_table(config, [key, *columns], name=name)
    lines = tables.lookup(other, key)
    try:
        missing, unused = tables.coverage(found, key, lines).values()
    except ValueError:
        raise ValueError(
            f"{found.table.path}: none of its {found.rows} rows has a line in {other.table.path}; do the two pair?"
        ) from None
    return lines, other.facts() | {"rows_without_line": missing, "lines_without_row": unused}


def look_up(cells: Cells, key: str, lines: Lines, what: str) -> None:
    """Put the line of another table beside a row's own cells. That there is none is an issue of the row."""
    word = cells.text(key)
    if word is None:
        return
    if (line := lines.get(word)) is None:
        cells.doubt(key, f"expected a line in the {what}")
        return
    cells.values |= {name: cell for name, cell in line.items() if name != key}
