"""The captioning stage: ingested rows in, the same rows with captions out, one status each."""

from typing import Self

from pydantic import Field, model_validator

from dermray import manifest
from dermray.captioning import asking, choose, prompts, summary
from dermray.captioning.asking import AskingConfig, Round
from dermray.captioning.compose import METADATA
from dermray.captioning.finish import Finish
from dermray.captioning.ledger import Ledger
from dermray.captioning.models import Captioner
from dermray.captioning.prepare import Prepare
from dermray.captioning.report_block import report_block as report_block  # into a run's report
from dermray.config import ConfigError
from dermray.manifest import Result
from dermray.records import CAPTIONED


class CaptionConfig(AskingConfig):
    """Which rows, which model, which words."""

    prompt_set: str = Field("abc", description=f"one of {prompts.NAMES}")
    metadata: list[str] = Field(["malignant", "skin_tone"], description=f"joined into the caption, out of {METADATA}")

    @model_validator(mode="after")
    def _known_words(self) -> Self:
        """Known prompt set and metadata."""
        if self.prompt_set not in prompts.NAMES:
            raise ConfigError(f"prompt_set={self.prompt_set!r}: expected one of {prompts.NAMES}")
        if unknown := sorted(set(self.metadata) - set(METADATA)):
            raise ConfigError(f"metadata={unknown}: expected names out of {METADATA}")
        return self


def run(config: CaptionConfig) -> Result:
    """Caption every usable row.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: missing inputs, an endpoint that refuses, no row captioned.
    """
    asked, inputs = asking.source(config, "caption")
    captioner = asking.captioner_of(config)
    identity = {"captioner_model": captioner.name, "captioner_revision": str(captioner.revision)}
    identity["prompt_version"] = prompts.version(config.prompt_set)
    with manifest.work("caption", config.output, config, inputs | captioner.inputs, **identity) as work:
        if work.finished:
            return work.finished
        expected, ledger = asking.ask(work, asked, inputs, captioner, _round(captioner, config), config)
        return _finish(work, expected, ledger, config)


def require_ready(config: CaptionConfig) -> None:
    """Ask all that can be asked before Ray starts, for callers that start several; raises as `run` does."""
    captioner = asking.captioner_of(config)
    choose.prepared(captioner.model, config.host.model_copy(update=captioner.settings))


def preview(config: CaptionConfig, count: int) -> list[str]:
    """The filled prompts of the first usable rows; starts neither Ray nor an engine."""
    asked, _ = asking.source(config, "caption")
    return [prompts.render(config.prompt_set, row) for row in asking.first_rows(asked, count)]


def _round(captioner: Captioner, config: CaptionConfig) -> Round:
    constants = asking.constants(captioner, config)
    return Round(
        Prepare(config.prompt_set, config.image_side),
        prompts.prompt_set(config.prompt_set).schema,
        Finish(config.prompt_set, tuple(config.metadata), constants),
        CAPTIONED,
        "captioned",
    )


def _finish(work: manifest.Work, expected: int, ledger: Ledger, config: CaptionConfig) -> Result:
    """Count, summarise, commit."""
    end = summary.read(work.row_files())
    counts = end.counts
    if not any(status == "ok" for status, _ in counts.statuses):
        raise ValueError(
            f"no caption out of {counts.rows} rows is usable: {counts.statuses.most_common(3)}; try another captioner, "
            "or more sampling.max_tokens where answers are truncated"
        )
    told = summary.summarise(counts, ledger, config.host, asking.kept_counts(work))
    title = f"Captions by {config.remote.model if config.remote else config.captioner}, prompt set {config.prompt_set}"
    page = summary.page(end, told, title)
    return asking.conclude(work, counts, expected, told, page, config, attribute_accuracy=end.accuracy, captioning=told)
