"""What a source is: a function that turns its config into a Ray dataset of rows not yet looked at.

A raw row holds `uri` (where the image lies) or `image` (its bytes), and any of the metadata columns of
records.IMAGES. Sources are found by name and imported when asked for. Adding one: a file, a line, a test, a preset.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from dermray import storage
from dermray.config import Config
from dermray.datasets import tables
from dermray.datasets.cells import Cells
from dermray.datasets.labels import MALIGNANT
from dermray.records import AT, IMAGES, skin_tone_of

if TYPE_CHECKING:
    from ray.data import Dataset

SOURCES = {
    "phantom": "dermray.datasets.phantom",
    "ham10000": "dermray.datasets.ham10000",
    "isic_2019": "dermray.datasets.isic_2019",
    "isic_2020": "dermray.datasets.isic_2020",
    "isic_archive": "dermray.datasets.isic_archive",
    "pad_ufes_20": "dermray.datasets.pad_ufes_20",
    "fitzpatrick17k": "dermray.datasets.fitzpatrick17k",
    "ddi": "dermray.datasets.ddi",
    "folder": "dermray.datasets.folder",
}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
MOST_BLOCKS = 4096  # that the driver makes of a table, for two million rows: each costs it up to a millisecond
Row = dict[str, Any]


class Reading(NamedTuple):
    """A source that was opened: its rows, what its manifest entry says of how it was read, and how many rows there
    are, where that is known before they are read."""

    rows: "Dataset"
    facts: dict[str, Any]
    rows_in: int  # lines or files, each of which is to become a row


def source(name: str) -> Any:
    """The module of a source: it has `SourceConfig` and `read(config) -> Reading`.

    Raises:
        ValueError: unknown name.
    """
    if name not in SOURCES:
        raise ValueError(f"source={name!r}: expected one of {sorted(SOURCES)}")
    return import_module(SOURCES[name])


class TableConfig(Config):
    """A table with one line per image, and where the images lie."""

    path: str
    table: str | None = "metadata.csv"
    images: str | list[str] = Field("images", description="folder of the images below `path`, or several")
    extension: str | None = Field(
        None, min_length=0, description="of the image files, where the table names none or another"
    )
    missing: list[str] = Field([], description="further words that mean 'nothing is known', in any column")
    bad_cells: Literal["null", "reject"] = Field("null", description="what becomes of cells that make no sense")
    split: Literal["train", "val", "test"] | None = Field(None, description="the split that its publisher gave it")
    encoding: str | None = Field(None, description="of the table's text; found out where it is not given")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="found out where it is not given")

    @property
    def source(self) -> str:
        """What the rows' `source` says: the module's name."""
        return type(self).__module__.rpartition(".")[2]

    def located(self, table: str | None = None) -> str:
        """URI of the table, or of another one beside it."""
        name = table or self.table
        if not name:
            raise ValueError(f"table={name!r}: expected the name of the table below {self.path}")
        absolute = storage.is_s3(name) or name.startswith("/")
        return name if absolute else storage.join(storage.normalise(self.path), name)


def open_table(
    config: TableConfig,
    required: Iterable[str],
    optional: Iterable[str] = (),
    watched: Mapping[str, Iterable[str]] | None = None,
    name: str | None = None,
) -> tables.Survey:
    """One of a source's tables, read once from end to end: see `tables`."""
    path = config.located(name)
    table = tables.open_table(path, required, optional, config.encoding, config.delimiter)
    return tables.survey(table, watched)


def read_table(
    found: tables.Survey, to_row: Callable[..., Row], config: TableConfig, facts: Mapping[str, Any] | None = None
) -> Reading:
    """Rows of a table through `to_row`, chunk by chunk. It gives our columns and `file`, the image's name.

    A task has a chunk, or several of a table with more than MOST_BLOCKS, and of these one at a time.
    """
    import ray.data

    chunks = [chunk._asdict() for chunk in found.chunks]
    places = ray.data.from_items(chunks, override_num_blocks=min(len(chunks), MOST_BLOCKS))
    chunk_rows = _Chunks(found.table, partial(to_row, config=config), config)
    read = places.map_batches(chunk_rows, batch_format="pyarrow", batch_size=None)
    return Reading(read, {"table": found.facts(), **(facts or {})}, found.rows)


class _Chunks:
    """Turns places in a table into rows; null columns keep their type through Arrow."""

    def __init__(self, table: tables.Table, to_row: Callable[[Cells], Row], config: TableConfig) -> None:
        self.table, self.to_row, self.config = table, to_row, config

    def __call__(self, places: Any) -> Iterator[Any]:
        import pyarrow as pa

        from dermray.records import conform

        for place in places.to_pylist():
            found = list(rows(self.table, tables.Chunk(**place), self.to_row, self.config))
            uris = [row.pop("uri", None) for row in found]
            yield conform(found, IMAGES).append_column("uri", pa.array(uris, pa.string()))


def rows(
    table: tables.Table, chunk: tables.Chunk, to_row: Callable[[Cells], Row], config: TableConfig
) -> Iterator[Row]:
    """The rows of a chunk: each with the `uri` of its image, or with a status and reason."""
    roots = image_roots(config)
    for record in tables.records(table, chunk):
        # A row that names no image goes by its line; the path keeps it apart from another table's.
        row = {"source": config.source, "source_id": f"{table.path} line {record.line}"}
        if record.problem is not None:
            yield row | {"status": "failed", "reason": record.problem}
            continue
        cells = Cells(table.values(record), table.place(record.line), config.missing)
        told = to_row(cells)
        row |= told | {"source_id": told.get("source_id") or row["source_id"]}
        yield located(finished(row, cells, config), roots, config.extension)


def finished(row: Row, cells: Cells, config: TableConfig) -> Row:
    """What holds for rows of every table: skin tone by Fitzpatrick type, the publisher's split, issues, rejection."""
    row |= _skin_tone(row, cells) | _label(row, cells)
    row |= {"split": row.get("split") or config.split, "cell_issues": cells.issues}
    if row.get("file") is None:
        return row | {"status": "failed", "reason": f"table row names no image{AT}{cells.place}"}
    if strange := [issue for issue in cells.issues if issue.startswith("split:")]:
        # what its publisher held out must not be dealt into train
        return row | {"status": "rejected", "reason": f"bad cell: {strange[0]}"}
    if cells.issues and config.bad_cells == "reject":
        return row | {"status": "rejected", "reason": f"bad cell: {cells.issues[0]}"}
    return row


def _label(row: Row, cells: Cells) -> Row:
    """The label, None where the row's own entity says the opposite: one of them is wrong, and nobody can tell which."""
    by_entity = MALIGNANT.get(row.get("entity") or "")
    if None in (by_entity, row.get("malignant")) or by_entity == row["malignant"]:
        return {}
    cells.doubt("malignant", f"expected {'malignant' if by_entity else 'benign'} for entity {row['entity']}")
    return {"malignant": None}


def _skin_tone(row: Row, cells: Cells) -> Row:
    """The group as the table says it or as the Fitzpatrick type does; None where the two contradict each other."""
    said, by_type = row.get("skin_tone"), skin_tone_of(row.get("fitzpatrick"))
    if None not in (said, by_type) and said != by_type:
        cells.doubt("skin_tone", "expected the group of the Fitzpatrick type")
        return {"skin_tone": None, "skin_tone_source": None}
    tone = said or by_type
    return {"skin_tone": tone, "skin_tone_source": "metadata" if tone else None}


def located(row: Row, roots: list[str], extension: str | None) -> Row:
    """The row with the URI of its image in the place of `file`. Storage is asked only where several places are open."""
    name = row.pop("file", None)
    if name is None or row.get("status"):
        return row
    candidates = image_uris(name, roots, extension)
    existing = candidates if len(candidates) == 1 else [uri for uri in candidates if storage.exists(uri)]
    if len(existing) > 1 and not is_absolute(name):
        return row | {"status": "failed", "reason": f"image lies in several folders{AT}{', '.join(existing)}"}
    return row | {"uri": (existing or candidates)[0]}


def is_absolute(name: str) -> bool:
    """Whether a table names an image by its whole path, of this machine or another."""
    return storage.is_s3(name) or PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).drive)


def image_roots(config: TableConfig) -> list[str]:
    """The folders in which a source's images may lie."""
    folders = [config.images] if isinstance(config.images, str) else config.images
    path = storage.normalise(config.path)
    return [path if folder in ("", ".") else storage.join(path, folder.rstrip("/")) for folder in folders]


def image_uris(name: str, roots: list[str], extension: str | None) -> list[str]:
    r"""Where the image may lie that a table names. Backslashes part folders.

    A whole path (`/home/ann/clinic/nv/1.png`, `C:\clinic\nv\1.png`) may be another machine's: after itself come its
    endings below the images' folders, the longest first.
    """
    name = name if storage.is_s3(name) else name.replace("\\", "/")
    file = with_extension(name, extension)
    if storage.is_s3(file):
        return [file]
    if not is_absolute(file):
        return [storage.join(root, file.removeprefix("./")) for root in roots]
    parts = file.split("/")[1:]
    return [file] + [storage.join(root, *parts[i:]) for i in range(len(parts)) for root in roots]


def with_extension(name: str, extension: str | None) -> str:
    """The file's name with this extension, in the place of an image's or after a mere id."""
    if not extension:
        return name
    stem, suffix = name[: name.rfind(".")], PurePosixPath(name).suffix
    return (stem if suffix.lower() in IMAGE_SUFFIXES else name) + "." + extension.removeprefix(".")
