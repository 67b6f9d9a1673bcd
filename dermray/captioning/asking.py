"""A model asked once about each row, by a job that may be killed and goes on: what stages that ask have in common.

A stage says what is asked and what becomes of answers (`Round`). Here are its settings, which rows it takes, the stream
through the engine, the proof that each row was written once, and the end of the job.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from dermray import manifest, storage, weights
from dermray.captioning import choose, models, summary
from dermray.captioning.cache import AnswerCache
from dermray.captioning.engine import Answer, Ask
from dermray.captioning.ledger import Ledger
from dermray.captioning.models import Captioner
from dermray.captioning.resume import require_each_once, require_ids, resumable
from dermray.captioning.settings import RemoteConfig, Sampling, VllmConfig
from dermray.config import Config, ConfigError, HowFast
from dermray.exactly_once import Ids
from dermray.manifest import Result, Rows
from dermray.page_index import write_options
from dermray.picked import FILE, with_images
from dermray.progress import rows_written, watched
from dermray.records import IMAGES
from dermray.result_fields import ResultOf

TEMPORARY = ("checkpoint/", "ledger/", "answers/")  # what only a killed job needs
ENGINES = ("CaptionEngine", "Client")  # what actors of vllm_engine.py and remote.py run


class AskingConfig(Config):
    """Which rows, which model."""

    output: str
    rows: Annotated[str, ResultOf("ingest")] = Field(description="result of the ingest stage")
    captioner: Annotated[str, ResultOf(*models.STAGES)] | None = Field(
        None,
        description="result of the captioner or tune-vlm stage, model directory, s3:// URI or hub id; not with remote",
    )
    sampling: Sampling = Sampling()
    engine: VllmConfig = VllmConfig()
    remote: RemoteConfig | None = Field(None, description="ask an OpenAI-compatible endpoint instead")
    image_side: int = Field(1024, ge=16, description="px; larger images are scaled down for the engine")
    rows_per_block: HowFast[int] = Field(256, ge=1, description="rows of a block, the unit of work that a crash costs")
    max_engine_errors: HowFast[float] = Field(
        0.5,
        gt=0,
        le=1,
        description="the job ends, to be started again, if more than this share of an engine's last 64 answers are "
        "errors; 1 tolerates all",
    )
    retry_failed: str | None = Field(
        None,
        description="an earlier result of this stage: ask again about its rejected and failed rows; the other rows are "
        "counted in the new result but stay in the earlier one, so do not remove it",
    )

    @property
    def host(self) -> VllmConfig | RemoteConfig:
        """The engine that is asked."""
        return self.remote or self.engine

    @model_validator(mode="after")
    def _one_host_with_room(self) -> Self:
        """One of captioner and remote, room for an answer beside its question, and a way of drawing that it can do."""
        if (self.captioner is None) == (self.remote is None):
            raise ConfigError("give either captioner (a model that vLLM hosts here) or remote (an endpoint), not both")
        if self.remote is None and self.sampling.max_tokens >= self.engine.max_model_len:
            raise ConfigError(
                f"sampling.max_tokens={self.sampling.max_tokens}: expected less than "
                f"engine.max_model_len={self.engine.max_model_len}, which image, question and answer share"
            )
        if self.remote is None and not self.engine.draws and self.sampling.temperature > 0:
            raise ConfigError(
                f"sampling.temperature={self.sampling.temperature:g}: expected 0 where engine.gpus=0, because vLLM "
                "0.29 draws by a seed on GPUs alone; or give engine.gpus, or remote"
            )
        return self

    @model_validator(mode="after")
    def _only_known_code_runs(self) -> Self:
        """A branch or tag of the hub may be other code tomorrow; a commit may not."""
        if not self.engine.trust_remote_code or self.captioner is None or weights.is_commit(self.engine.revision):
            return self
        if weights.may_change(self.captioner):
            raise ConfigError(
                f"engine.trust_remote_code=true: runs Python from {self.captioner}; expected engine.revision to be a "
                f"commit, 40 hex digits, got {self.engine.revision!r}; or give a model directory"
            )
        return self


@dataclass(frozen=True)
class Asked:
    """Rows to ask about."""

    uri: str  # of their Parquet files
    wanted: Callable[[Any], Any]  # filter over the column status, be it pyarrow's or Ray Data's
    columns: list[str] | None = None  # all, or some without `image`, which is then read for the wanted rows alone


@dataclass(frozen=True)
class Round:
    """What is asked about every row, and what becomes of the answers: a table in, a table out."""

    prepare: Callable[[pa.Table], pa.Table]  # adds the columns of prepare.ASKED
    schema: dict[str, Any] | None  # of guided decoding
    finish: Callable[[pa.Table], pa.Table]  # answered rows to rows of `written`, none left out
    written: pa.Schema
    done: str = "asked about"  # what it calls rows that are written, in its messages


def usable(status: Any) -> Any:
    """Filter of rows that are ok."""
    return status == "ok"


def unusable(status: Any) -> Any:
    """Filter of rows that are not."""
    return status != "ok"


def source(config: AskingConfig, stage: str) -> tuple[Asked, dict[str, Result]]:
    """The rows to ask about, and the manifests they come from.

    Raises:
        FileNotFoundError, ValueError: no result of ingest, or `retry_failed` is no result of this stage over it.
    """
    ingested = manifest.read(config.rows, "ingest")
    if config.retry_failed is None:
        return Asked(storage.join(ingested.data, "rows"), usable), {"rows": ingested}
    earlier = manifest.read(config.retry_failed, stage)
    if earlier.manifest.inputs.get("rows") != ingested.manifest.key:
        raise ValueError(f"retry_failed={config.retry_failed}: a result of other rows than {config.rows}")
    if earlier.manifest.rows.ok == earlier.manifest.rows.rows_in:
        raise ValueError(f"retry_failed={config.retry_failed}: all its rows are ok; use that result as it is")
    # of an earlier result only what went into it, and how often it was tried; few of its images are asked about
    columns = [name for name in (*IMAGES.names, "attempts") if name != "image"]
    asked = Asked(storage.join(earlier.data, "rows"), unusable, columns)
    return asked, {"rows": ingested, "retry_failed": earlier}


def captioner_of(config: AskingConfig) -> Captioner:
    """The model that is asked."""
    if config.remote is not None:
        return Captioner(config.remote.model, config.remote.model, None)
    assert config.captioner is not None
    return models.chosen(config.captioner, config.engine)


def constants(captioner: Captioner, config: AskingConfig) -> dict[str, str | None]:
    """Columns that are the same for all rows: who answered, and how answers were drawn."""
    return {
        "captioner": captioner.name,
        "captioner_revision": captioner.revision,
        "sampling": config.sampling.model_dump_json(),
    }


def first_rows(asked: Asked, count: int) -> list[dict[str, Any]]:
    """The first wanted rows without their images, for a preview; starts neither Ray nor an engine."""
    import pyarrow.dataset

    system, path = storage.filesystem(asked.uri)
    files = pyarrow.dataset.dataset(path, filesystem=system, format="parquet")
    columns = [name for name in files.schema.names if name != "image"]
    rows: list[dict[str, Any]] = files.head(count, columns=columns, filter=asked.wanted(pc.field("status"))).to_pylist()
    return rows


def ask(
    work: manifest.Work,
    asked: Asked,
    inputs: dict[str, Result],
    captioner: Captioner,
    how: Round,
    config: AskingConfig,
    below: str = "",
) -> tuple[int, Ledger]:
    """Ask about every wanted row and prove that each was written once, below `work.data`.

    Args:
        below: directory in it, where these rows are not yet the result's.

    Returns:
        How many rows the result must have, and what the engines noted.

    Raises:
        ValueError, ConnectionError, RuntimeError: before Ray starts, see `choose.prepared` and `require_ids`;
            afterwards, rows are missing or double.
    """
    ledger = Ledger(storage.join(work.data, "ledger"))
    work.kept = inputs.get("retry_failed")
    require_ids(asked.uri, "sample_id")
    answer = choose.prepared(captioner.model, config.host.model_copy(update=captioner.settings))
    kept = work.kept.manifest.rows if work.kept else None
    number = kept.rows_in - kept.ok if kept else inputs["rows"].manifest.rows.ok
    data = storage.join(work.data, below) if below else work.data
    each_once(asked, data, captioner, answer, ledger, how, config, number)
    return number + (kept.ok if kept else 0), ledger


def each_once(
    asked: Asked, data: str, captioner: Captioner, answer: Answer, ledger: Ledger, how: Round, config: AskingConfig,
    number: int,
) -> None:  # fmt: skip
    """`stream`, whose progress is shown out of `number`, and the proof that each wanted row was written once."""
    with watched(rows_written(storage.join(data, "rows"), number, ENGINES)):
        stream(asked, data, captioner, answer, ledger, how, config)
    _require_each_once(asked, data)


def stream(
    asked: Asked, data: str, captioner: Captioner, answer: Answer, ledger: Ledger, how: Round, config: AskingConfig
) -> None:
    """Rows through the engine into `<data>/rows`, going on from what an earlier start wrote there."""
    from dermray.cluster import connect

    connect(data)
    import ray.data
    from ray.data.expressions import col

    checkpoint, cache = storage.join(data, "checkpoint", "asked"), AnswerCache(storage.join(data, "answers"))
    question = Ask(
        captioner.model, config.sampling, how.schema, config.rows_per_block, ledger, cache, config.max_engine_errors
    )
    system, path = storage.filesystem(asked.uri)
    to_system, to_path = storage.filesystem(storage.join(data, "rows"))
    with resumable("sample_id", checkpoint) as written:
        ledger.run_begun(written)
        if written:
            print(f"      {written} rows are already {how.done}; going on", flush=True)
        cache.collect(checkpoint)
        rows = ray.data.read_parquet(
            path, filesystem=system, columns=asked.columns, include_paths=asked.columns is not None
        )
        rows = rows.filter(expr=asked.wanted(col("status")))
        rows = rows.repartition(target_num_rows_per_block=config.rows_per_block)
        if asked.columns is not None:
            rows = rows.map_batches(_with_images, batch_format="pyarrow", batch_size=None)
        ready = rows.map_batches(how.prepare, batch_format="pyarrow", batch_size=None)
        done = answer(ready, question).map_batches(how.finish, batch_format="pyarrow", batch_size=None)
        done.write_parquet(to_path, filesystem=to_system, mode="append", **write_options(how.written))


def _with_images(rows: pa.Table) -> pa.Table:
    """Rows that were read with Ray's column `path` alone; they still say where they lie."""
    named = rows.rename_columns({"path": FILE})
    return with_images(named).append_column(FILE, named[FILE])


def _require_each_once(asked: Asked, data: str) -> None:
    import ray

    wanted = Ids(asked.uri, ("sample_id",), asked.wanted(pc.field("status")))
    written = Ids(storage.join(data, "rows"), ("sample_id",))
    ray.get(ray.remote(require_each_once).remote(wanted, written, [storage.join(data, "checkpoint", "asked")]))


def kept_counts(work: manifest.Work) -> summary.Counts:
    """What rows add up to that are an earlier result's."""
    return summary.count(work.kept.row_files(), pc.field("status") == "ok") if work.kept else summary.Counts()


def conclude(
    work: manifest.Work, counts: summary.Counts, expected: int, told: dict[str, Any], page: str, config: AskingConfig,
    temporary: Sequence[str] = (), **metrics: Any,
) -> Result:  # fmt: skip
    """Write `summary.json` (`told`) and `page.html`, then the manifest.

    Args:
        temporary: of the stage's own, beside what each asking one has.
    """
    storage.write_bytes(storage.join(work.data, "summary.json"), json.dumps(told, indent=1).encode())
    storage.write_bytes(storage.join(work.data, "page.html"), page.encode())
    cpus, gpus = summary.held(config.host)
    return work.commit(
        Rows.count(counts.statuses), expected, cpus=cpus, gpus=gpus, temporary=[*TEMPORARY, *temporary],
        page="page.html", **metrics,
    )  # fmt: skip
