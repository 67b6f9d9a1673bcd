"""What a source is: a function that turns its config into places of rows, and a function from these to the rows.

A raw row holds `uri` (where the image lies) or `image` (its bytes), and any of the metadata columns of
records.IMAGES. Sources are found by name and imported when asked for. Adding one: a file, a line, a test, a preset.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from dermray import storage
from dermray.archives import paths as archives
from dermray.config import Config
from dermray.datasets import tables
from dermray.datasets.blocks import digest
from dermray.datasets.cells import Cells
from dermray.datasets.image_names import image_uris, is_absolute
from dermray.datasets.labels.table import labels_of
from dermray.datasets.labels.words import MALIGNANT
from dermray.records import AT, IMAGES, skin_tone_of

if TYPE_CHECKING:
    from ray.data import Dataset

SOURCES = {
    "phantom": "dermray.datasets.phantom",
    "ham10000": "dermray.datasets.ham10000",
    "isic_2016": "dermray.datasets.isic_2016",
    "isic_2017": "dermray.datasets.isic_2017",
    "isic_2018": "dermray.datasets.isic_2018",
    "isic_2019": "dermray.datasets.isic_2019",
    "isic_2020": "dermray.datasets.isic_2020",
    "isic_2024": "dermray.datasets.isic_2024",
    "isic_archive": "dermray.datasets.isic_archive",
    "bcn20000": "dermray.datasets.bcn20000",
    "derm12345": "dermray.datasets.derm12345",
    "hiba": "dermray.datasets.hiba",
    "milk10k": "dermray.datasets.milk10k",
    "pad_ufes_20": "dermray.datasets.pad_ufes_20",
    "fitzpatrick17k": "dermray.datasets.fitzpatrick17k",
    "ddi": "dermray.datasets.ddi",
    "derm7pt": "dermray.datasets.derm7pt",
    "scin": "dermray.datasets.scin",
    "mednode": "dermray.datasets.mednode",
    "melanoma_10000": "dermray.datasets.melanoma_10000",
    "melanoma_cancer": "dermray.datasets.melanoma_cancer",
    "mclass": "dermray.datasets.mclass",
    "asan": "dermray.datasets.asan",
    "webdataset": "dermray.datasets.webdataset",
    "hf_dataset": "dermray.datasets.hf_dataset",
    "folder": "dermray.datasets.folder",
}
MOST_BLOCKS = 4096  # that the driver makes of a table, for two million rows: each costs it up to a millisecond
Row = dict[str, Any]


class Reading(NamedTuple):
    """A source that was opened: where its rows lie, and what its manifest entry says of how it was read."""

    places: "Dataset"  # small: chunks of a table, names of files, archives
    rows: Callable[[Any], Iterable[Any]]  # a few places, an Arrow table -> Arrow tables of rows not yet looked at
    facts: dict[str, Any]
    rows_in: int  # lines or files, each of which is to become a row
    version: str = ""  # changes with what the rows are made of beside their places: tables, labels
    together: int = 1  # places whose rows are a block, by which an ingest that was killed goes on


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
    images: str | list[str] = Field("images", description="folder or archive of the images below `path`, or several")
    extension: str | None = Field(
        None, min_length=0, description="of the image files, where the table names none or another"
    )
    missing: list[str] = Field([], description="further words that mean 'nothing is known', in any column")
    more_labels: str | None = Field(
        None, description="YAML of labels that the source's own table does not know, in its form: see datasets/labels"
    )
    bad_cells: Literal["null", "reject"] = Field("null", description="what becomes of cells that make no sense")
    split: Literal["train", "val", "test"] | None = Field(None, description="the split that its publisher gave it")
    licence: str | None = Field(None, description="that you were granted, in the place of the publisher's")
    encoding: str | None = Field(None, description="of the table's text; found out where it is not given")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="found out where it is not given")

    @property
    def source(self) -> str:
        """What the rows' `source` says: the module's name."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def granted(self) -> str | None:
        """The licence of all rows, whatever their table says."""
        return self.licence

    @property
    def vocabulary(self) -> str:
        """Whose reviewed table of labels holds the source's words: its own, unless publishers share one."""
        return self.source

    def located(self, table: str | None = None) -> str:
        """URI of the table, or of another one beside it."""
        name = table or self.table
        if not name:
            raise ValueError(f"table={name!r}: expected the name of the table below {self.path}")
        absolute = storage.has_scheme(name) or name.startswith("/")
        return name if absolute else storage.join(storage.readable(self.path), name)


def open_table(
    config: TableConfig,
    required: Iterable[str],
    optional: Iterable[str] = (),
    watched: Mapping[str, Iterable[str]] | None = None,
    name: str | None = None,
    columns: Iterable[str] | None = None,
) -> tables.Survey:
    """One of a source's tables, read once from end to end: see `tables`."""
    path = config.located(name)
    table = tables.open_table(path, required, optional, config.encoding, config.delimiter, columns)
    return tables.survey(table, watched)


def read_table(
    found: tables.Survey, to_row: Callable[..., Row], config: TableConfig, facts: Mapping[str, Any] | None = None
) -> Reading:
    """Rows of a table through `to_row`, chunk by chunk. It gives our columns and `file`, the image's name.

    A task has a chunk, or several of a table with more than MOST_BLOCKS, and of these one at a time.

    Raises:
        FileNotFoundError, ValueError: `more_labels` is no table of labels, or contradicts the source's own.
    """
    if config.more_labels:
        labels_of(config.vocabulary, config.more_labels)
    import ray.data

    chunks = [chunk._asdict() for chunk in found.chunks]
    places = ray.data.from_items(chunks, override_num_blocks=min(len(chunks), MOST_BLOCKS))
    chunk_rows = _Chunks(found.table, partial(to_row, config=config), config)
    changes = [config.more_labels] if config.more_labels else []
    version = digest(found.table, to_row, [storage.version(path) for path in (found.table.path, *changes)])
    return Reading(places, chunk_rows, {"table": found.facts(), **(facts or {})}, found.rows, version)


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
        for values in table.values_by_image(record):
            cells = Cells(values, table.place(record.line), config.missing)
            told = to_row(cells)
            told = row | told | {"source_id": told.get("source_id") or row["source_id"]}
            yield located(finished(told, cells, config), roots, config.extension)


def finished(row: Row, cells: Cells, config: TableConfig) -> Row:
    """What holds for rows of every table: skin tone by Fitzpatrick type, the publisher's split, issues, rejection."""
    row |= _skin_tone(row, cells) | _label(row, cells)
    row |= {"split": row.get("split") or config.split, "cell_issues": cells.issues}
    row |= {"licence": config.granted or row.get("licence")}
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


def image_roots(config: TableConfig) -> list[str]:
    """The folders in which a source's images may lie. An archive that holds one folder stands for that one too."""
    return [place for folder in image_folders(config) for place in archives.with_only_folder(storage.readable(folder))]


def image_folders(config: TableConfig) -> list[str]:
    """URIs of the folders and archives of images that a source names."""
    folders = [config.images] if isinstance(config.images, str) else config.images
    path = storage.readable(config.path)
    return [path if folder in ("", ".") else storage.join(path, folder.rstrip("/")) for folder in folders]
