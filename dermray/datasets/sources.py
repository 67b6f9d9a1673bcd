"""What a source is: a function that turns its config into a Ray dataset of rows not yet looked at.

A raw row holds `uri` (where the image lies) or `image` (its bytes), and any of the metadata columns of
records.IMAGES. Sources are found by name and imported when asked for. Adding one: a file, a line, a test.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dermray import storage

if TYPE_CHECKING:
    from ray.data import Dataset

SOURCES = {
    "phantom": "dermray.datasets.phantom",
    "ham10000": "dermray.datasets.ham10000",
    "isic_archive": "dermray.datasets.isic_archive",
    "pad_ufes_20": "dermray.datasets.pad_ufes_20",
    "folder": "dermray.datasets.folder",
}


def source(name: str) -> Any:
    """The module of a source: it has `SourceConfig` and `read(config) -> Dataset`.

    Raises:
        ValueError: unknown name.
    """
    if name not in SOURCES:
        raise ValueError(f"source={name!r}: expected one of {sorted(SOURCES)}")
    return import_module(SOURCES[name])


def read_table(path: str, row: Callable[[dict[str, Any]], dict[str, Any]], required: list[str]) -> "Dataset":
    """Rows of a CSV file through `row`, streamed; every value arrives as a string or None.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a column in `required` is missing, or the table has no row.
    """
    import pyarrow.csv
    import ray.data

    system, inner = storage.filesystem(path)
    if not storage.exists(path):
        raise FileNotFoundError(f"{path}: no such metadata table; check the source's path")
    with system.open_input_stream(inner) as stream:
        header = stream.read(1 << 16).decode("utf-8-sig", "replace").splitlines()
    names: list[str] = next(iter(_csv_rows(header[:1])), [])
    if missing := [name for name in required if name not in names]:
        raise ValueError(f"{path}: columns {missing} are missing; expected {required}, found {names}")
    if len(header) < 2:
        raise ValueError(f"{path}: the table has a header and no rows")
    options = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, "string"), strings_can_be_null=True, null_values=["", "nan", "NaN", "None"]
    )
    table = ray.data.read_csv(inner, filesystem=system, convert_options=options)
    return table.map_batches(_RowMapper(row), batch_format="pyarrow")


def _csv_rows(lines: list[str]) -> Any:
    import csv

    return csv.reader(lines)


class _RowMapper:
    """Applies a row function to a block; null columns keep their type through Arrow."""

    def __init__(self, row: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.row = row

    def __call__(self, table: Any) -> Any:
        from dermray.records import conform

        rows = [self.row(raw) for raw in table.to_pylist()]
        uris = [row.pop("uri") for row in rows]
        return _with_uri(conform(rows, raw_schema()), uris)


def raw_schema() -> Any:
    """Columns that a source may fill in."""
    from dermray.records import IMAGES

    return IMAGES


def _with_uri(table: Any, uris: list[str]) -> Any:
    import pyarrow as pa

    return table.append_column("uri", pa.array(uris, pa.string()))


def number(text: str | None) -> float | None:
    """A number, or None where the table says nothing.

    Raises:
        ValueError: the text is no number.
    """
    return None if text is None or text.strip().lower() in ("", "unknown") else float(text)


def word(text: str | None, allowed: dict[str, str] | None = None) -> str | None:
    """Lower-case text, translated by `allowed` (unknown words become None), or None where nothing is said."""
    if text is None or text.strip().lower() in ("", "unknown", "unk"):
        return None
    text = text.strip().lower()
    return text if allowed is None else allowed.get(text)


SEX = {"female": "female", "male": "male", "f": "female", "m": "male"}
