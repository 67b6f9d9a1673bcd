"""How many images a source has, before any of them is read: counted where they lie, otherwise as published."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import as_file, files
from typing import Any

from pydantic import Field

from dermray import storage
from dermray.config import Config, read_file, validate
from dermray.datasets import listing, tables
from dermray.datasets.sources import TableConfig, image_folders, source
from dermray.planning.figure import Figure, computed, measured, unknown

TABLES = ("table", "labels", "lesions", "metadata", "supplement")  # fields of sources; `labels` is a flag of some
SEVERAL_IMAGES_A_LINE = ("derm7pt", "scin")  # of their tables


class Published(Config):
    """A data set as its publisher describes it."""

    images: dict[str, int]
    place: str = Field(alias="from")
    layout: str = Field(description="what lies below a source's path")


@cache
def published() -> dict[str, Published]:
    """By source; read once."""
    with as_file(files(__package__).joinpath("datasets.yaml")) as path:
        return {name: validate(Published, given, f"datasets.yaml: {name}") for name, given in read_file(path).items()}


def images_of(given: Mapping[str, Any]) -> Figure:
    """Images that an ingest's source has.

    Args:
        given: an item of its `sources`.
    """
    name = str(given.get("source"))
    settings: Any = validate(
        source(name).SourceConfig, {key: value for key, value in given.items() if key != "source"}, f"sources: {name}"
    )
    if name == "phantom":
        return computed(settings.count, "drawn phantoms")
    return _counted(name, settings) or _published(name, settings)


def is_there(given: Mapping[str, Any]) -> bool:
    """Whether a source's images are at hand."""
    path = given.get("path")
    try:
        return path is None or storage.exists(storage.readable(str(path)))
    except OSError:
        return False  # a store that cannot be reached


def lacking(given: Mapping[str, Any]) -> list[str]:
    """What a source needs and is not there: its path, or of what it names below this its tables, folders and archives.

    Args:
        given: an item of an ingest's `sources`, which is valid.
    """
    if not is_there(given):
        return [str(given["path"])]
    settings = validate(source(str(given["source"])).SourceConfig, {k: v for k, v in given.items() if k != "source"})
    places = _places(settings) if isinstance(settings, TableConfig) else ()
    return [place for place in dict.fromkeys(places) if not is_there({"path": place})]


def _places(settings: TableConfig) -> Iterator[str]:
    """URIs of all that a source with a table reads; nothing is asked of storage."""
    fields = settings.model_dump()
    descriptions, hdf5 = fields.get("descriptions"), fields.get("hdf5")
    if not (descriptions or settings.table):
        return  # class folders, which are its path
    tables_beside = [fields.get(name) for name in TABLES] + list((fields.get("indexes") or {}).values())
    files = [descriptions] if descriptions else [*tables_beside, hdf5]
    yield from (settings.located(name) for name in files if isinstance(name, str))
    # A web server has files and no folders that could be asked for.
    if not hdf5 and not settings.path.startswith(("http://", "https://")):
        yield from image_folders(settings)


def _counted(name: str, settings: Any) -> Figure | None:
    """Lines of its table, or files below its path; None where neither is at hand or says how many images there are."""
    try:
        if isinstance(settings, TableConfig) and settings.table:
            place = settings.located()
            if name in SEVERAL_IMAGES_A_LINE or not storage.exists(place):
                return None
            table = tables.open_table(place, (), (), settings.encoding, settings.delimiter)
            return measured(tables.survey(table).rows, f"lines of {place}")
        if is_there({"path": settings.path}) and name not in ("webdataset", "hf_dataset"):
            place = storage.readable(settings.path)
            return measured(sum(file.reason is None for file in listing.files(place)), f"files below {place}")
    except (OSError, ValueError):
        return None  # ingest will say what is wrong with them
    return None


def _published(name: str, settings: Any) -> Figure:
    known = published().get(name)
    images = known.images.get(_part(settings, known)) if known else None
    if known is None or images is None:
        return unknown(f"{name}: nothing lies at {settings.path}, and no published number was found")
    return Figure(images, "published", f"{name}: {known.place}")


def _part(settings: Any, known: Published) -> str:
    """Which of the published numbers an entry has. Where none is of all, one without `split` has its table's."""
    if settings.split or "all" in known.images:
        return settings.split or "all"
    return "test" if "test" in str(getattr(settings, "table", None)).lower() else "train"
