"""The instruct stage: ingested rows in, the same rows with question-answer pairs out, a status for each of both."""

from typing import Any, NamedTuple

import pyarrow as pa

from dermray import manifest
from dermray.captioning import asking, summary
from dermray.captioning.asking import Round
from dermray.captioning.ledger import Ledger
from dermray.captioning.models import Captioner
from dermray.columns import batches
from dermray.manifest import Result
from dermray.picked import FILE, Least
from dermray.records import INSTRUCTED
from dermray.row_files import RowFiles
from dermray.vlm.instruct import page, prompt, second_round, self_instruct, statistics, whole_set
from dermray.vlm.instruct.finish import Finish
from dermray.vlm.instruct.prepare import Prepare
from dermray.vlm.instruct.settings import InstructConfig as InstructConfig  # where `pipeline.command` looks for it
from dermray.vlm.instruct.statistics import PairCounts


def run(config: InstructConfig) -> Result:
    """Ask every usable row two questions.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: missing inputs, an endpoint that refuses, no usable pair.
    """
    asked, inputs = asking.source(config, "instruct")
    captioner = asking.captioner_of(config)
    identity = {"captioner_model": captioner.name, "captioner_revision": str(captioner.revision)}
    identity["prompt_version"] = prompt.version()
    if config.self_instruct:
        identity |= second_round.identity(config.self_instruct)
    with manifest.work("instruct", config.output, config, inputs | captioner.inputs, **identity) as work:
        if work.finished:
            return work.finished
        below = whole_set.FIRST if config.over_all else ""
        expected, ledger = asking.ask(work, asked, inputs, captioner, first_round(captioner, config), config, below)
        if config.self_instruct:
            second_round.ask(work.data, captioner, config)
        over_all = whole_set.write(work, config) if config.over_all else None
        return _finish(work, expected, ledger, config, over_all)


def preview(config: InstructConfig, count: int) -> list[str]:
    """The filled prompts of the first usable rows; starts neither Ray nor an engine."""
    asked, _ = asking.source(config, "instruct")
    rows = asking.first_rows(asked, count)
    first = [prompt.prompt_of(row, config.context) for row in rows]
    if config.self_instruct is None:
        return first
    return first + [self_instruct.prompt_of(row, config.context, config.self_instruct) for row in rows]


def first_round(captioner: Captioner, config: InstructConfig) -> Round:
    """A general and a specific question about each image."""
    constants = asking.constants(captioner, config)
    return Round(
        Prepare(config.context, config.image_side),
        prompt.schema(most_characters=config.most_characters, one_sentence=config.one_sentence),
        Finish(config.context, config.near_duplicate, config.most_characters, constants),
        INSTRUCTED,
    )


class Read(NamedTuple):
    """What the end of the job needs of its rows."""

    counts: summary.Counts
    pairs: PairCounts
    good: pa.Table  # sample_id and FILE of a few rows
    bad: pa.Table


def read(rows: str | RowFiles) -> Read:
    """In one pass: in S3 each pass costs a request a file."""
    counts, pairs, good, bad = summary.Counts(), PairCounts(), Least(summary.SHOWN_OK), Least(summary.SHOWN_OTHER)
    columns = list(dict.fromkeys([*summary.COUNTED, *statistics.COLUMNS, "sample_id", FILE]))
    for batch in batches(rows, columns):
        counts.add(batch)
        pairs.add(batch)
        summary.add_places(batch, good, bad)
    return Read(counts, pairs, good.rows(), bad.rows())


def _finish(
    work: manifest.Work, expected: int, ledger: Ledger, config: InstructConfig, over_all: dict[str, Any] | None
) -> Result:
    """Count, summarise, commit."""
    end = read(work.row_files())
    if not any(status == "ok" for status, _ in end.counts.statuses):
        raise ValueError(
            f"no pair out of {end.counts.rows} rows is usable: {end.counts.statuses.most_common(3)}; try another "
            "captioner, or more sampling.max_tokens where answers are truncated"
        )
    told = _told(end, summary.summarise(end.counts, ledger, config.host, asking.kept_counts(work)))
    told |= {"over_all": over_all} if over_all else {}
    title = f"Question-answer pairs by {config.remote.model if config.remote else config.captioner}"
    shown = page.render(end.good, end.bad, told, title)
    lines = statistics.text(told["statistics"])
    return asking.conclude(
        work, end.counts, expected, told, shown, config, whole_set.TEMPORARY, instruct=told, summary=lines
    )


def _told(end: Read, asked: dict[str, Any]) -> dict[str, Any]:
    """Rates and costs of the requests, and what the pairs are."""
    numbers, last = end.pairs.numbers(), asked["last_start"]
    rate = last["captions_per_second"]
    per_row = numbers["pairs"] / max(end.counts.rows, 1)
    last["pairs_per_second"] = round(rate * per_row, 3) if rate else None
    return asked | {"statistics": numbers}
