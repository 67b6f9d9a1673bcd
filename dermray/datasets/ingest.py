"""The first stage: sources in, rows out, each with its leak group and split."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from dermray import manifest, storage
from dermray.columns import batches
from dermray.config import Config, section, validate
from dermray.counters import count_rows
from dermray.datasets.assignment import Assignment
from dermray.datasets.cells import plain
from dermray.datasets.counts import count
from dermray.datasets.decode import BadImage, inspect
from dermray.datasets.labels import require_match
from dermray.datasets.near_duplicates import fingerprint, near_duplicates
from dermray.datasets.repeats import reject_repeats
from dermray.datasets.sources import Reading, source
from dermray.datasets.splits import UNKNOWN, Fractions, check_leaks, leak_groups, official_splits, split_around
from dermray.datasets.survey import messages, reading_messages, survey_rows
from dermray.exactly_once import Ids, difference
from dermray.manifest import Result, Rows
from dermray.page_index import write_options
from dermray.progress import busy, rows_written, watched
from dermray.records import IMAGES, conform, kind, sample_id

KEY_COLUMNS = [
    "sample_id", "source", "source_id", "patient_id", "lesion_id", "diagnosis", "malignant", "entity", "split",
    "status", "reason", "hash", "thumbnail",
]  # fmt: skip
RAW = pa.schema([*IMAGES, ("hash", pa.uint64()), ("thumbnail", pa.binary())])

LINES_SHOWN, MODIFICATIONS = 12, 50  # printed, and in the manifest
FETCHES = 32  # images of a block fetched at a time: S3 answers after tens of milliseconds, a core decodes in fewer
BYTES_PER_PART = 64 << 20  # of images, after which a task hands on its rows


class IngestConfig(Config):
    """What to read and how to split it."""

    output: str
    sources: list[dict[str, Any]] = Field(min_length=1, description="each: `source: <name>` and that source's keys")
    fractions: Fractions = Fractions()
    stratify: str = Field("malignant", pattern="^(malignant|entity|diagnosis)$")
    drop_classes: list[str] = Field([], description="values of `stratify` whose rows are rejected")
    seed: int = Field(0, ge=0)
    rows_per_block: int = Field(256, ge=1)

    @field_validator("sources")
    @classmethod
    def _each_valid(cls, sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number, given in enumerate(sources):
            module = source(str(given.get("source")))
            section(module.SourceConfig, {k: v for k, v in given.items() if k != "source"}, str(number))
            if given in sources[:number]:
                raise ValueError(f"source {number} is given twice: each of its rows would be an exact duplicate")
        return sources


def run(config: IngestConfig) -> Result:
    """Read, check, group, split, write. Raises ValueError where there is nothing to work with."""
    opened = [(source(str(c.get("source"))), c) for c in config.sources]
    with manifest.work("ingest", config.output, config, {}) as work:
        if work.finished:
            return work.finished
        import ray

        from dermray.cluster import connect

        connect(work.uri)
        storage.delete_tree(work.data)  # cheap to make again: no half-read source is kept
        raw = storage.join(work.data, "raw")
        readings = _open(opened)
        expected = sum(reading.rows_in for reading in readings)
        with watched(rows_written(raw, expected)):
            _look(readings, raw)
        with watched(busy("looking for copies, grouping and splitting")):
            assignment = ray.remote(_assign).remote(raw, config)
            number = len(ray.get(assignment).names)
        with watched(rows_written(storage.join(work.data, "rows"), number)):
            _write(raw, storage.join(work.data, "rows"), assignment, config)
        name = ("source", "source_id")
        ids = Ids(raw, name, rows=expected), Ids(storage.join(work.data, "rows"), name)
        if lost := ray.get(ray.remote(difference).remote(*ids)):
            raise RuntimeError(f"{lost.text}. No manifest is written; start again")
        storage.delete_tree(raw)
        tasks = [ray.remote(read).remote(storage.join(work.data, "rows")) for read in (count, survey_rows)]
        counts, facts = ray.get(tasks)
        _print(messages(facts))
        facts |= {"sources": [r.facts for r in readings], "splits": counts.splits, "labels": counts.labels}
        for what in ("labels", "splits"):
            _print([f"{what}: {', '.join(f'{number} {name}' for name, number in facts[what].items())}"])
        work.licences = sorted(counts.licences)
        told, modified = Rows.count(counts.statuses), dict(counts.modifications.most_common(MODIFICATIONS))
        _say(told, modified)
        return work.commit(told, expected, cpus=manifest.cpu_count(), modifications=modified, **facts)


def _print(lines: list[str]) -> None:
    for line in lines:
        print(f"      {line}", flush=True)


def _open(opened: list[tuple[Any, dict[str, Any]]]) -> list[Reading]:
    """Every source, its tables read once before the first image: what is wrong with them is said at once."""
    readings = []
    for module, c in opened:
        settings = validate(module.SourceConfig, {k: v for k, v in c.items() if k != "source"})
        reading = module.read(settings)
        reading.facts["source"] = str(c["source"])
        _print(reading_messages(reading.facts))
        readings.append(reading)
    return readings


def _look(readings: list[Reading], raw: str) -> None:
    """Every source's rows, bytes fetched and decoded once, to Parquet."""
    system, path = storage.filesystem(raw)
    for reading in readings:
        # with a batch size, Ray Data would first gather so many rows of what its source is made of: chunks of a table
        rows = reading.rows.map_batches(_look_at, batch_format="pyarrow", batch_size=None)
        rows.write_parquet(path, filesystem=system, mode="append")


def _look_at(table: pa.Table) -> Iterator[pa.Table]:
    """The rows with what their images show, in parts. Held are one part and the images that are being fetched."""
    rows, part, size = iter(table.to_pylist()), list[dict[str, Any]](), 0
    with ThreadPoolExecutor(FETCHES) as pool:
        fetched = deque(pool.submit(_fetch, row) for row in islice(rows, FETCHES))
        while fetched:
            row = fetched.popleft().result()
            fetched.extend(pool.submit(_fetch, next_row) for next_row in islice(rows, 1))
            part.append(_unseen(row) if row.get("status") else _examine(row))
            size += len(part[-1].get("image") or b"")
            if size >= BYTES_PER_PART or not fetched:
                yield _checked(part)
                part, size = [], 0


def _checked(rows: list[dict[str, Any]]) -> pa.Table:
    prints = [(row.pop("hash"), row.pop("thumbnail")) for row in rows]
    checked = conform(rows, IMAGES)
    checked = checked.append_column("hash", pa.array([h for h, _ in prints], pa.uint64()))
    count_rows("ingest", checked)
    return checked.append_column("thumbnail", pa.array([t for _, t in prints], pa.binary()))


def _fetch(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its image's bytes, where it has an image and these can be had at once."""
    if row.get("status") or row.get("image") is not None:
        return row
    try:
        return row | {"image": storage.read_bytes(row["uri"])}
    except (OSError, pa.ArrowInvalid):  # `_examine` asks once more, and says why not
        return row


def _unseen(row: dict[str, Any]) -> dict[str, Any]:
    """A row that its source gave up: its image is not fetched."""
    row.pop("uri", None)
    return row | {"origin": "real", "hash": None, "thumbnail": None}


def _examine(row: dict[str, Any]) -> dict[str, Any]:
    """One row with bytes, id, size and fingerprint; or with a reason why not."""
    uri = row.pop("uri", None)
    row |= {"origin": "real", "status": "ok", "reason": None, "hash": None, "thumbnail": None}
    try:
        data = row["image"] if row.get("image") is not None else storage.read_bytes(uri)
    except FileNotFoundError:
        return row | {"status": "failed", "reason": "image file missing"}
    except (OSError, pa.ArrowInvalid) as error:  # the latter for names that no S3 path may have
        if storage.is_s3(uri) and isinstance(error, OSError) and not isinstance(error, PermissionError):
            # not this image's fault, and the next one would meet it too
            raise OSError(
                f"{uri}: S3 does not give this image, however often it is asked; start again when it does ({error})"
            ) from None
        return row | {"status": "failed", "reason": f"image file unreadable: {type(error).__name__}"}
    row |= {"image": data, "sample_id": sample_id(data)}
    try:
        decoded = inspect(data)
    except BadImage as error:
        return row | {"status": "rejected", "reason": str(error)}
    value, thumbnail = fingerprint(decoded.image)
    width, height = decoded.image.size
    row |= {"width": width, "height": height, "modification": decoded.modification}
    return row | {"hash": value, "thumbnail": thumbnail}


def _assign(raw: str, config: IngestConfig) -> Assignment:
    """Groups and splits over all rows' keys: one task that holds all of these, and no image."""
    table = pa.Table.from_batches(batches(raw, KEY_COLUMNS), pa.schema([RAW.field(name) for name in KEY_COLUMNS]))
    table = table.sort_by([("source", "ascending"), ("source_id", "ascending")])
    if not len(table):
        raise ValueError("the sources hold no row: check their paths and tables")
    return Assignment.of(table, assigned(table.to_pylist(), config))


def assigned(rows: list[dict[str, Any]], config: IngestConfig) -> list[dict[str, Any]]:
    """The rows, of KEY_COLUMNS, with a group, a split, and those that cannot stay rejected.

    Raises:
        ValueError: names that occur twice, no usable row, or what the config cannot be applied to.
    """
    _require_unique_names(rows)
    reject_repeats(rows)
    dropped = _dropped(rows, config)
    for row in rows:
        if row["status"] == "ok" and _stratum(row, config) in dropped:
            row |= {"status": "rejected", "reason": f"class {_stratum(row, config)} left out by drop_classes"}
    usable = [row for row in rows if row["status"] == "ok"]
    if not usable:
        reasons = Counter(kind(row["reason"]) for row in rows).most_common(3)
        raise ValueError(f"none of {len(rows)} rows is usable: {reasons}")
    pairs = near_duplicates([row["hash"] for row in usable], [row["thumbnail"] for row in usable])
    groups = _groups(rows, usable, pairs)
    _split(usable, groups, config)
    for row in rows:
        row["split"] = row["split"] if row["status"] == "ok" else None
    check_leaks((f"g{row['group']}", row["split"]) for row in usable if row["status"] == "ok")
    return rows


def _split(usable: list[dict[str, Any]], groups: np.ndarray, config: IngestConfig) -> None:
    """A split for each row. An official one is kept; of a group that lies in several, the lower one's rows are not."""
    official = official_splits([row["split"] for row in usable], groups)
    strata = [_stratum(row, config) for row in usable]
    names = split_around(official, strata, groups, config.fractions, config.seed)
    for row, group, name in zip(usable, groups.tolist(), names, strict=True):
        given, row["group"] = row["split"], group
        if given not in (None, official.get(group)):
            reason = f"{given} row whose patient, lesion or near duplicate is in the official {official[group]} split"
            row |= {"status": "rejected", "reason": reason}
        row["split"] = name


def _groups(rows: list[dict[str, Any]], usable: list[dict[str, Any]], pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Leak groups of the usable rows. The others link too: a rejected copy tells whose image it is."""
    rest = [row for row in rows if row["status"] != "ok"]
    # Bytes link only where they show something: empty files are all alike.
    keys = [[row["sample_id"] if row["thumbnail"] else None, row["patient_id"], row["lesion_id"]]
            for row in (*usable, *rest)]  # fmt: skip
    return leak_groups(keys, pairs)[: len(usable)]


def _dropped(rows: list[dict[str, Any]], config: IngestConfig) -> set[str]:
    """The strata to leave out. ValueError where one occurs nowhere."""
    require_match(config.drop_classes, {_stratum(row, config) for row in rows}, f"drop_classes of {config.stratify}")
    return set(map(plain, config.drop_classes))


def _stratum(row: dict[str, Any], config: IngestConfig) -> str:
    value = row[config.stratify]
    if config.stratify == "malignant" and value is not None:
        return "malignant" if value else "benign"
    return UNKNOWN if value is None else plain(str(value))


def _require_unique_names(rows: list[dict[str, Any]]) -> None:
    counts = Counter((row["source"], row["source_id"]) for row in rows)
    if repeated := [name for name, n in counts.items() if n > 1]:
        raise ValueError(
            f"{len(repeated)} source ids occur more than once, for example {repeated[0]}: every image needs a name "
            "of its own within its source; remove the repeated lines or give each source another name"
        )


def _write(raw: str, target: str, assignment: Any, config: IngestConfig) -> None:
    """Rows joined with their assignment, which lies in the object store."""
    import ray.data

    system, path = storage.filesystem(raw)
    rows = ray.data.read_parquet(path, filesystem=system)
    done = rows.map_batches(
        _Join,
        fn_constructor_args=[assignment],
        batch_format="pyarrow",
        batch_size=config.rows_per_block,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    to_system, to_path = storage.filesystem(target)
    done.write_parquet(to_path, filesystem=to_system, min_rows_per_file=config.rows_per_block, **write_options(IMAGES))


class _Join:
    def __init__(self, assignment: Any) -> None:
        import ray

        self.assignment: Assignment = ray.get(assignment)

    def __call__(self, table: pa.Table) -> pa.Table:
        return self.assignment.join(table).select(IMAGES.names).cast(IMAGES)


def _say(told: Rows, modified: dict[str, int]) -> None:
    """Where the files went that are no usable image as they are."""
    lines = [*told.reasons.items(), *((f"modified: {what}", number) for what, number in modified.items())]
    for what, number in lines[:LINES_SHOWN]:
        print(f"      {number} {what}", flush=True)
