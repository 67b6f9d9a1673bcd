"""What a captioning job did, in numbers and on a page."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dermray import pages
from dermray.captioning.ledger import Ledger
from dermray.captioning.settings import RemoteConfig, VllmConfig
from dermray.columns import Tally, add, batches
from dermray.datasets.decode import BadImage, portable
from dermray.picked import pick, take
from dermray.row_files import RowFiles

SHOWN_OK, SHOWN_OTHER = 12, 6
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


def count(rows: str | RowFiles, where: Any = None) -> Counts:
    """Of the rows that `where`, over the columns COUNTED, lets pass; holds a batch of them."""
    counts = Counts()
    for batch in batches(rows, COUNTED, where):
        add(counts.statuses, batch.select(["status", "reason"]))
        counts.tokens_in += _sum(batch["tokens_in"])
        counts.tokens_out += _sum(batch["tokens_out"])
        counts.unsent += _sum(pc.equal(batch["attempts"], 0))
        counts.retried += _sum(pc.greater(batch["attempts"], 1))
    return counts


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


def page(rows: str | RowFiles, summary: dict[str, Any], title: str, accuracy: dict[str, float]) -> str:
    """The HTML page: numbers, then captions beside their images, then what was not captioned and why."""
    return pages.render(
        Path(__file__).parent / "page.html",
        title=title,
        summary=summary,
        accuracy=accuracy,
        good=_examples(rows, pc.field("status") == "ok", SHOWN_OK),
        bad=_examples(rows, pc.field("status") != "ok", SHOWN_OTHER),
    )


def _examples(rows: str | RowFiles, where: Any, count: int) -> list[dict[str, Any]]:
    """The rows with the least ids."""
    columns = ["caption", "answer", "status", "reason", "finish_reason", "tokens_out", "source_id"]
    chosen = pick(rows, columns, where, count)
    return [row | {"url": _url(image)} for row, image in zip(chosen.to_pylist(), take(chosen), strict=True)]


def _url(image: bytes) -> str:
    try:
        return pages.data_url(portable(image, pages.SIDE))
    except BadImage:  # a rejected row's: the browser shows what it can
        return pages.data_url(image)
