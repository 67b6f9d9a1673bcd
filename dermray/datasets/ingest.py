"""The first stage: sources in, rows out, each with its leak group and split."""

from typing import Any, Self

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from dermray import manifest, storage
from dermray.columns import batches
from dermray.config import section, validate
from dermray.datasets import known_duplicates, told_files
from dermray.datasets.assignment import NAME, Assignment
from dermray.datasets.counts import count
from dermray.datasets.earlier_splits import EarlierSplits
from dermray.datasets.embedding_settings import EMBEDDED, EmbeddingSearch, settled
from dermray.datasets.embedding_settings import messages as embedding_messages
from dermray.datasets.grouping import KEY_COLUMNS, Grouping, assigned
from dermray.datasets.joining import write_joined
from dermray.datasets.licences import CommercialUse, of_result, of_source
from dermray.datasets.looking import RAW, look_at_all
from dermray.datasets.report_block import report_block as report_block  # into a run's report
from dermray.datasets.sources import Reading, source
from dermray.datasets.survey import messages, reading_messages, survey_rows
from dermray.exactly_once import Ids, difference
from dermray.leak_mark import leak_mark
from dermray.manifest import Result, Rows
from dermray.progress import WrittenRows, busy, rows_written, watched
from dermray.skin_tone.settings import SkinTone, filling, judges_of

RAW_ROWS = "raw"  # folder of what the images show, until the rows have their groups
LINES_SHOWN, MODIFICATIONS = 12, 50  # printed, and in the manifest
RETRIES = 10  # of the one task that groups all rows, whose node may die; it may also be its own fault


class IngestConfig(Grouping, CommercialUse):
    """What to read and how to split it."""

    output: str
    sources: list[dict[str, Any]] = Field(min_length=1, description="each: `source: <name>` and that source's keys")
    min_side: int | None = Field(None, ge=1, description="px; images with a shorter side are rejected; paper 002: 128")
    rows_per_block: int = Field(256, ge=1)
    skin_tone: SkinTone = Field("metadata", description="where that has none: `ita`, or {classifier: <result>}")
    near_duplicates: EmbeddingSearch | None = Field(
        None,
        description="look for near duplicates by a network's features as well as by hash, which misses crops",
    )

    @field_validator("sources")
    @classmethod
    def _each_valid(cls, sources: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for number, given in enumerate(sources):
            module = source(str(given.get("source")))
            section(module.SourceConfig, {k: v for k, v in given.items() if k != "source"}, str(number))
            if given in sources[:number]:
                raise ValueError(f"source {number} is given twice: each of its rows would be an exact duplicate")
        return sources

    @model_validator(mode="after")
    def _licences_known(self) -> Self:
        """Of the sources that have one for all their images: a refusal costs least before these are read."""
        self.require_commercial({what: number for given in self.sources for what, number in of_source(given).items()})
        return self


def run(config: IngestConfig) -> Result:
    """Read, check, group, split, write. Raises ValueError where there is nothing to work with."""
    opened = [(source(str(c.get("source"))), c) for c in config.sources]
    config = config.model_copy(update={"near_duplicates": settled(config.near_duplicates)})
    previous = {"previous": manifest.read(config.previous, "ingest")} if config.previous else {}
    judges = judges_of(config.skin_tone)
    known_duplicates.check(config.known_duplicates)
    contents = told_files.digests(config.sources, config.known_duplicates)
    with manifest.work("ingest", config.output, config, previous | judges, **contents) as work:
        if work.finished:  # perhaps of a config that did not ask
            config.require_commercial(of_result(work.uri, work.finished.manifest.licences))
            return work.finished
        import ray

        from dermray.cluster import connect

        connect(work.uri)
        raw, joined = storage.join(work.data, RAW_ROWS), storage.join(work.data, "rows")
        embedded = storage.join(work.data, EMBEDDED)
        readings = _open(opened)
        _goes_on(raw)
        expected = sum(reading.rows_in for reading in readings)
        with watched(rows_written(raw, expected)):
            blocks, others = look_at_all(readings, raw, config.min_side, filling(config.skin_tone, judges))
        if others:
            _print([f"{others} blocks of an earlier start were of other inputs, or of another version: made anew"])
        _embed(raw, embedded, config)
        with watched(busy("looking for copies, grouping and splitting")):
            grouping = ray.remote(max_retries=RETRIES)(_assign)
            assignment = grouping.remote(raw, config, previous.get("previous"), embedded)
            number, uncompared, joins, version = ray.get(ray.remote(_told).remote(assignment))
        _print([*known_duplicates.messages(joins["known_duplicates"]), *embedding_messages(joins["near_duplicates"])])
        if by_image := joins.get("split_by_image"):
            work.leaking_groups = {work.key: by_image["leaking_groups"]}
            _print([f"WARNING: {leak_mark(work.leaking_groups)} ({by_image['images']:,} images are in such groups)"])
        with watched(rows_written(joined, number)):
            write_joined(raw, blocks, joined, assignment, version, config.rows_per_block)
        if lost := ray.get(ray.remote(difference).remote(Ids(raw, NAME), Ids(joined, NAME))):
            raise RuntimeError(f"{lost.text}. No manifest is written; remove {work.data} and start again")
        tasks = [ray.remote(read).remote(joined) for read in (count, survey_rows)]
        counts, facts = ray.get(tasks)
        _print(messages(facts))
        facts |= {"sources": [r.facts for r in readings], "splits": counts.splits, "labels": counts.labels}
        facts |= {"skin_tones": counts.skin_tones}
        for what in ("labels", "splits", "skin_tones"):
            told_of = ", ".join(f"{number} {name}" for name, number in facts[what].items())
            _print([f"{what.replace('_', ' ')}: {told_of}"])
        config.require_commercial(counts.licences)
        # those of a classifier of skin tones are there already
        work.licences = sorted({*work.licences, *(licence for _, licence in counts.licences)})
        told, modified = Rows.count(counts.statuses), dict(counts.modifications.most_common(MODIFICATIONS))
        _say(told, modified)
        if uncompared:
            _print([f"warning: {uncompared} pairs of look-alikes were too many to compare: splits may share pictures"])
        facts |= {"modifications": modified, "near_duplicates_uncompared": uncompared} | joins
        made_of = [f"{RAW_ROWS}/", f"{EMBEDDED}/"]
        return work.commit(told, expected, cpus=manifest.cpu_count(), temporary=made_of, **facts)


def _embed(raw: str, embedded: str, config: IngestConfig) -> None:
    """Where near duplicates are also looked for by a network's features. It begins anew: which of an earlier start's
    files are whole nobody knows."""
    if config.near_duplicates is None:
        return
    from dermray.datasets.embedding import embed_all

    storage.delete_tree(embedded)
    with watched(busy("embedding the images")):
        embed_all(raw, embedded, config.near_duplicates)


def _told(assignment: Assignment) -> tuple[int, int, dict[str, Any], str]:
    """Rows, pairs that were not compared, what joined rows, and its digest: what the driver needs of it."""
    return len(assignment.names), assignment.uncompared, assignment.facts, assignment.digest()


def _goes_on(raw: str) -> None:
    """Say what an earlier start has left."""
    found = WrittenRows(raw).statuses()
    if found:
        failed = sum(number for (status, _), number in found.items() if status == "failed")
        _print([f"going on: {found.total()} rows ({failed} failed) are there from an earlier start, images as they were"
                f" then; remove {raw} to read them again"])  # fmt: skip


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


def _assign(raw: str, config: IngestConfig, previous: Result | None = None, embedded: str = "") -> Assignment:
    """Groups and splits over all rows' keys: one task that holds all of these, and no image."""
    table = pa.Table.from_batches(batches(raw, KEY_COLUMNS), pa.schema([RAW.field(name) for name in KEY_COLUMNS]))
    if not len(table):
        raise ValueError("the sources hold no row: check their paths and tables")
    earlier = EarlierSplits.read(storage.join(previous.data, "rows")) if previous else None
    alike = None
    if config.near_duplicates:
        from dermray.datasets.embedded_duplicates import find

        alike = find(embedded, config.near_duplicates.max_distance)
    return assigned(table, config, earlier, alike)


def _say(told: Rows, modified: dict[str, int]) -> None:
    """Where the files went that are no usable image as they are."""
    lines = [*told.reasons.items(), *((f"modified: {what}", number) for what, number in modified.items())]
    for what, number in lines[:LINES_SHOWN]:
        print(f"      {number} {what}", flush=True)
