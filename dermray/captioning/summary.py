"""What a captioning job did, in numbers and on a page."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from dermray import pages
from dermray.captioning.accuracy import COLUMNS, Accuracy
from dermray.captioning.ledger import Ledger
from dermray.captioning.prepare import NO_IMAGE
from dermray.captioning.settings import RemoteConfig, VllmConfig
from dermray.columns import Tally, add, batches, batches_of
from dermray.datasets.decode import BadImage, portable
from dermray.picked import FILE, Least, take
from dermray.row_files import RowFiles

SHOWN_OK, SHOWN_OTHER = 12, 6
SHOWN = ["caption", "answer", "status", "reason", "finish_reason", "tokens_out", "source_id"]
COUNTED = ["status", "reason", "tokens_in", "tokens_out", "attempts"]


@dataclass
class Counts:
    """What captioned rows add up to."""

    statuses: Tally = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0
    unsent: int = 0  # rows that no engine was asked about
    retried: int = 0  # rows that were asked about more than once

    @property
    def rows(self) -> int:
        """How many."""
        return self.statuses.total()

    def add(self, batch: pa.RecordBatch) -> None:
        """Rows with the columns COUNTED."""
        add(self.statuses, batch.select(["status", "reason"]))
        self.tokens_in += _sum(batch["tokens_in"])
        self.tokens_out += _sum(batch["tokens_out"])
        self.unsent += _sum(pc.equal(batch["attempts"], 0))
        self.retried += _sum(pc.greater(batch["attempts"], 1))


def count(rows: str | RowFiles, where: Any = None) -> Counts:
    """Of the rows that `where`, over the columns COUNTED, lets pass; holds a batch of them."""
    counts = Counts()
    for batch in batches(rows, COUNTED, where):
        counts.add(batch)
    return counts


class Read(NamedTuple):
    """What the end of a job needs of its rows."""

    counts: Counts
    accuracy: dict[str, float]  # see Accuracy.shares
    good: pa.Table  # sample_id and FILE of a few rows
    bad: pa.Table


def read(rows: str | RowFiles) -> Read:
    """In one pass: in S3 each pass costs a request a file."""
    counts, accuracy, good, bad = Counts(), Accuracy(), Least(SHOWN_OK), Least(SHOWN_OTHER)
    for batch in batches(rows, list(dict.fromkeys([*COUNTED, *COLUMNS, "sample_id", FILE]))):
        counts.add(batch)
        accuracy.add(batch)
        add_places(batch, good, bad)
    return Read(counts, accuracy.shares(), good.rows(), bad.rows())


def add_places(batch: pa.RecordBatch, good: Least, bad: Least) -> None:
    """Add where rows lie that may be shown: those that are ok, and others that have an image."""
    places, ok = pa.Table.from_batches([batch.select(["sample_id", FILE])]), pc.equal(batch["status"], "ok")
    blind = pc.fill_null(pc.equal(batch["reason"], NO_IMAGE), False)
    good.add(places.filter(ok))
    bad.add(places.filter(pc.invert(pc.or_(ok, blind))))


def summarise(counts: Counts, ledger: Ledger, engine: VllmConfig | RemoteConfig, kept: Counts) -> dict[str, Any]:
    """Counts, rates and resources of a finished job.

    `rows_asked_again` is an upper bound, because engines note rows before they ask: of a block that was killed, rows
    count that were not asked yet. It is None where notes are missing: fewer rows were noted than asked about.

    Args:
        counts: of the result. kept: of those among them that are an earlier result's, see --retry-failed: what they
            cost was paid by the earlier job.
    """
    asked = counts.rows - kept.rows
    runs, engines = ledger.notes("run"), ledger.notes("engine")
    began, now = runs[-1].time, time.time()
    ready = [note.time for note in engines if note.time >= began]
    steady = now - min(ready) if ready else None
    captioned = asked - runs[-1].rows
    tokens_in, tokens_out = counts.tokens_in - kept.tokens_in, counts.tokens_out - kept.tokens_out
    sent, unsent = sum(note.rows for note in ledger.notes("block")), counts.unsent
    cpus, gpus = held(engine)
    return {
        "rows": counts.rows,
        "statuses": {f"{status}: {reason}" if reason else status: n for (status, reason), n in counts.statuses.items()},
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "cost": cost(engine, tokens_in, tokens_out),
        "retried_rows": counts.retried,
        "starts": len(runs),
        "engines_started": len(engines),
        "rows_asked_again": sent - (asked - unsent) if sent >= asked - unsent else None,
        "last_start": {
            "rows": captioned,
            "seconds": round(now - began, 2),
            "start_up_seconds": round(min(ready) - began, 2) if ready else None,
            "steady_seconds": round(steady, 2) if steady else None,
            "captions_per_second": round(captioned / steady, 3) if steady else None,
            "tokens_out_per_second": round(tokens_out * captioned / max(asked, 1) / steady, 1) if steady else None,
            "cpu_seconds_held": round((now - began) * cpus, 1),
            "gpu_seconds_held": round((now - began) * gpus, 1),
        },
    }


def _sum(column: pa.Array) -> int:
    return int(pc.sum(column).as_py() or 0)


def held(engine: VllmConfig | RemoteConfig) -> tuple[float, float]:
    """CPUs and GPUs that the engines hold, at most."""
    if isinstance(engine, RemoteConfig):
        return 0.1 * engine.replicas, 0.0
    return engine.workers * engine.cpus, engine.workers * engine.gpus


def cost(engine: VllmConfig | RemoteConfig, tokens_in: int, tokens_out: int) -> float | None:
    """What the tokens cost at the configured prices; None without prices."""
    if not isinstance(engine, RemoteConfig) or engine.price_in is None or engine.price_out is None:
        return None
    return round((tokens_in * engine.price_in + tokens_out * engine.price_out) / 1e6, 6)


def page(end: Read, summary: dict[str, Any], title: str) -> str:
    """The HTML page: numbers, then captions beside their images, then what was not captioned and why."""
    return pages.render(
        Path(__file__).parent / "page.html",
        title=title,
        summary=summary,
        accuracy=end.accuracy,
        good=examples(end.good, SHOWN),
        bad=examples(end.bad, SHOWN),
    )


def examples(chosen: pa.Table, shown: list[str]) -> list[dict[str, Any]]:
    """Rows and their images, out of the files that they lie in.

    Args:
        chosen: sample_id and FILE of a few rows. shown: columns.

    Returns:
        These columns of each, and `url` with its image.
    """
    tables = []
    for path in chosen[FILE].unique().to_pylist():
        uri = path if path.startswith("/") else f"s3://{path}"
        ids = chosen.filter(pc.equal(chosen[FILE], path))["sample_id"].combine_chunks()
        found = batches_of([uri], ["sample_id", *shown, FILE], pc.field("sample_id").isin(ids))
        tables += [pa.Table.from_batches([batch]) for batch in found]
    if not tables:
        return []
    rows = pa.concat_tables(tables).sort_by("sample_id")
    return [row | {"url": _url(image)} for row, image in zip(rows.to_pylist(), take(rows), strict=True)]


def _url(image: bytes) -> str:
    try:
        return pages.data_url(portable(image, pages.SIDE))
    except BadImage:  # a rejected row's: the browser shows what it can
        return pages.data_url(image)
