"""Images that come with what is known of them, out of archives: a config's mapping of columns, as `folder` has it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import model_validator

from dermray.datasets import folder
from dermray.datasets.cells import Cells, plain
from dermray.datasets.labels.words import require_match
from dermray.datasets.sources import Row, finished, image_roots, located
from dermray.datasets.tables import WORDS_KEPT

BYTES_PER_PART, ROWS_PER_PART = 64 << 20, 256  # of images that a task holds before it hands on its rows


class SamplesConfig(folder.SourceConfig):
    """Where the archives lie, and what their columns mean: `columns`, `words` and classes as in `folder`."""

    @model_validator(mode="after")
    def _no_table(self) -> "SamplesConfig":
        given = [name for name in ("table", "encoding", "delimiter", "extension") if getattr(self, name) is not None]
        if given:
            raise ValueError(f"{given}: expected none of these: there is no table, and images keep their names")
        return self


@dataclass(frozen=True)
class Sample:
    """An image with its cells, or the reason why there is none."""

    name: str  # unique in its source
    place: str  # how messages name it
    values: Mapping[str, str | None] = field(default_factory=dict)
    image: bytes | None = None
    path: str | None = None  # where the image lies, if its bytes are not here
    split: str | None = None
    status: str | None = None
    reason: str | None = None


@dataclass
class Told:
    """What a first pass found, without images: how many samples, which columns, and the words of those that the config
    names words of."""

    samples: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    words: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, sample: Sample, config: SamplesConfig) -> None:
        """Count a sample."""
        self.samples += 1
        self.columns.update(name for name, value in sample.values.items() if value is not None)
        for ours, own in config.columns.items():
            if (word := sample.values.get(own)) and (ours in config.words or ours == "diagnosis"):
                counts = self.words.setdefault(ours, Counter())
                if word in counts or len(counts) < WORDS_KEPT or plain(word) in _named(config, ours):
                    counts[word] += 1

    def merge(self, other: "Told") -> None:
        """Count these too."""
        self.samples += other.samples
        self.columns += other.columns
        for ours, words in other.words.items():
            self.words.setdefault(ours, Counter()).update(words)


def _named(config: SamplesConfig, ours: str) -> set[str]:
    """The words of a column that the config names, which must not be missed."""
    classes = [*config.malignant_classes, *config.benign_classes] if ours == "diagnosis" else []
    return set(map(plain, [*config.words.get(ours, ()), *classes]))


def require_columns(told: Told, config: SamplesConfig, archives: int = 1, other_files: int = 0) -> dict[str, Any]:
    """What the config says must occur. For the manifest: how many samples, columns that are not read, classes of
    unknown label.

    Raises:
        ValueError: no sample, or a column, word or class that occurs nowhere.
    """
    if not told.samples:
        raise ValueError(f"{config.path}: there is no sample in it; check the source's path")
    if missing := sorted(set(config.columns.values()) - set(told.columns)):
        raise ValueError(f"{config.path}: columns {missing} occur nowhere; there are {sorted(told.columns)}")
    for ours, meanings in config.words.items():
        require_match(meanings, told.words.get(ours, Counter()), f"words.{ours}")
    facts = folder.check_classes(told.words.get("diagnosis", Counter()), config)
    read = {"path": config.path, "samples": told.samples, "archives": archives, "other_files": other_files}
    return {"samples": read | {"columns_not_read": sorted(set(told.columns) - set(config.columns.values()))}, **facts}


def to_row(sample: Sample, config: SamplesConfig) -> Row:
    """A sample's row with its image's bytes or `uri`, or with a status and reason."""
    row: Row = {"source": config.source, "source_id": sample.name, "split": sample.split or config.split}
    if sample.status is not None:
        return row | {"status": sample.status, "reason": sample.reason}
    cells = Cells({own: sample.values.get(own) for own in config.columns.values()}, sample.place, config.missing)
    told = folder.to_row(cells, config)
    row |= told | {name: told.get(name) or row[name] for name in ("source_id", "split")}
    row = finished(row | {"file": sample.path or sample.name}, cells, config)
    if sample.image is None:
        return located(row, image_roots(config), None)
    row.pop("file", None)
    return row | {"image": sample.image}


def parts(samples: Iterable[Sample], config: SamplesConfig) -> Iterator[Any]:
    """Arrow tables of the samples' rows, each of limited size."""
    rows, size = list[Row](), 0
    for sample in samples:
        rows.append(to_row(sample, config))
        size += len(sample.image or b"")
        if size >= BYTES_PER_PART or len(rows) >= ROWS_PER_PART:
            yield _table(rows)
            rows, size = [], 0
    if rows:
        yield _table(rows)


def _table(rows: list[Row]) -> Any:
    import pyarrow as pa

    from dermray.records import IMAGES, conform

    uris = [row.pop("uri", None) for row in rows]
    return conform(rows, IMAGES).append_column("uri", pa.array(uris, pa.string()))
