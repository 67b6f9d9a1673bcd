"""The captioning stage: ingested rows in, the same rows with captions out, one status each."""

import json
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from dermray import manifest, storage, weights
from dermray.captioning import choose, models, prompts, summary
from dermray.captioning.cache import AnswerCache
from dermray.captioning.compose import METADATA
from dermray.captioning.engine import Answer, Ask
from dermray.captioning.finish import Finish
from dermray.captioning.ledger import Ledger
from dermray.captioning.models import Captioner
from dermray.captioning.prepare import Prepare
from dermray.captioning.resume import require_each_once, require_ids, resumable
from dermray.captioning.settings import RemoteConfig, Sampling, VllmConfig
from dermray.config import Config, ConfigError, HowFast
from dermray.exactly_once import Ids
from dermray.manifest import Result, Rows
from dermray.page_index import write_options
from dermray.picked import FILE, with_images
from dermray.progress import rows_written, watched
from dermray.records import CAPTIONED, IMAGES

ENGINES = ("CaptionEngine", "Client")  # what actors of vllm_engine.py and remote.py run


class CaptionConfig(Config):
    """Which rows, which model, which words."""

    output: str
    rows: str = Field(description="result of the ingest stage")
    captioner: str | None = Field(
        None, description="result of the captioner stage, or a model directory, s3:// URI or hub id; without `remote`"
    )
    prompt_set: str = Field("abc", description=f"one of {prompts.NAMES}")
    metadata: list[str] = Field(["malignant", "skin_tone"], description=f"joined into the caption, out of {METADATA}")
    sampling: Sampling = Sampling()
    engine: VllmConfig = VllmConfig()
    remote: RemoteConfig | None = Field(None, description="ask an OpenAI-compatible endpoint instead")
    image_side: int = Field(1024, ge=16, description="px; larger images are made smaller for the engine")
    rows_per_block: HowFast[int] = Field(256, ge=1, description="the unit of work that a crash costs")
    max_engine_errors: HowFast[float] = Field(
        0.5,
        gt=0,
        le=1,
        description="the job ends, to be started again, where more than this share of an engine's last 64 answers are "
        "errors; 1 bears all",
    )
    retry_failed: str | None = Field(
        None,
        description="an earlier caption result: its rejected and failed rows are asked again; the others count among "
        "the new result's too, but stay where they are, so do not remove it",
    )

    @property
    def host(self) -> VllmConfig | RemoteConfig:
        """The engine that is asked."""
        return self.remote or self.engine

    @model_validator(mode="after")
    def _known_and_together(self) -> Self:
        """Known prompt set and metadata, one of captioner and remote, room for an answer beside its question."""
        if self.prompt_set not in prompts.NAMES:
            raise ConfigError(f"prompt_set={self.prompt_set!r}: expected one of {prompts.NAMES}")
        if unknown := sorted(set(self.metadata) - set(METADATA)):
            raise ConfigError(f"metadata={unknown}: expected names out of {METADATA}")
        if (self.captioner is None) == (self.remote is None):
            raise ConfigError("give either captioner (a model that vLLM hosts here) or remote (an endpoint), not both")
        if self.remote is None and self.sampling.max_tokens >= self.engine.max_model_len:
            raise ConfigError(
                f"sampling.max_tokens={self.sampling.max_tokens}: expected less than "
                f"engine.max_model_len={self.engine.max_model_len}, which image, question and answer share"
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


def run(config: CaptionConfig) -> Result:
    """Caption every usable row.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: missing inputs, an endpoint that refuses, no row captioned.
    """
    source, inputs = _source(config)
    captioner = _captioner(config)
    identity = {"captioner_model": captioner.name, "captioner_revision": str(captioner.revision)}
    identity["prompt_version"] = prompts.version(config.prompt_set)
    with manifest.work("caption", config.output, config, inputs | captioner.inputs, **identity) as work:
        if work.finished:
            return work.finished
        rows, ledger = storage.join(work.data, "rows"), Ledger(storage.join(work.data, "ledger"))
        work.kept = inputs.get("retry_failed")
        require_ids(source, "sample_id")
        answer = choose.prepared(captioner.model, config.host.model_copy(update=captioner.settings))
        kept = work.kept.manifest.rows if work.kept else None
        expected = kept.rows_in - kept.ok if kept else inputs["rows"].manifest.rows.ok
        with watched(rows_written(rows, expected, ENGINES)):
            _caption(source, work.data, captioner, answer, ledger, config)
        _require_each_once(source, work.data, config)
        return _finish(work, expected + (kept.ok if kept else 0), ledger, config)


def require_ready(config: CaptionConfig) -> None:
    """Ask all that can be asked before Ray starts, for callers that start several; raises as `run` does."""
    captioner = _captioner(config)
    choose.prepared(captioner.model, config.host.model_copy(update=captioner.settings))


def preview(config: CaptionConfig, count: int) -> list[str]:
    """The filled prompts of the first usable rows; starts neither Ray nor an engine."""
    source, _ = _source(config)
    import pyarrow.dataset

    system, path = storage.filesystem(source)
    files = pyarrow.dataset.dataset(path, filesystem=system, format="parquet")
    columns = [name for name in files.schema.names if name != "image"]
    rows = files.head(count, columns=columns, filter=_wanted(pc.field("status"), config)).to_pylist()
    return [prompts.render(config.prompt_set, row) for row in rows]


def _source(config: CaptionConfig) -> tuple[str, dict[str, Result]]:
    """Where the rows to ask about lie, and the manifests they come from."""
    ingested = manifest.read(config.rows, "ingest")
    if config.retry_failed is None:
        return storage.join(ingested.data, "rows"), {"rows": ingested}
    earlier = manifest.read(config.retry_failed, "caption")
    if earlier.manifest.inputs.get("rows") != ingested.manifest.key:
        raise ValueError(f"retry_failed={config.retry_failed}: captions of other rows than {config.rows}")
    if earlier.manifest.rows.ok == earlier.manifest.rows.rows_in:
        raise ValueError(f"retry_failed={config.retry_failed}: all its rows are captioned; use that result as it is")
    return storage.join(earlier.data, "rows"), {"rows": ingested, "retry_failed": earlier}


def _wanted(status: Any, config: CaptionConfig) -> Any:
    """Filter of the rows that are asked about; `status` is that column, as pyarrow or as Ray Data writes columns."""
    return status != "ok" if config.retry_failed else status == "ok"


def _captioner(config: CaptionConfig) -> Captioner:
    if config.remote is not None:
        return Captioner(config.remote.model, config.remote.model, None)
    assert config.captioner is not None
    found = models.find(config.captioner, config.engine.revision)
    given = config.engine
    return found if given.lora is None else models.adapted(found, given.lora, given.lora_revision)


def _caption(
    source: str, data: str, captioner: Captioner, answer: Answer, ledger: Ledger, config: CaptionConfig
) -> None:
    from dermray.cluster import connect

    connect(data)
    import ray.data
    from ray.data.expressions import col

    target, checkpoint = storage.join(data, "rows"), storage.join(data, "checkpoint", "asked")
    cache = AnswerCache(storage.join(data, "answers"))
    ask = Ask(
        captioner.model,
        config.sampling,
        prompts.prompt_set(config.prompt_set).schema,
        config.rows_per_block,
        ledger,
        cache,
        config.max_engine_errors,
    )
    constants = {
        "captioner": captioner.name,
        "captioner_revision": captioner.revision,
        "sampling": config.sampling.model_dump_json(),
    }
    finish = Finish(config.prompt_set, tuple(config.metadata), constants)
    system, path = storage.filesystem(source)
    to_system, to_path = storage.filesystem(target)
    with resumable("sample_id", checkpoint) as written:
        ledger.run_begun(written)
        if written:
            print(f"      {written} rows are already captioned; going on", flush=True)
        cache.collect(checkpoint)
        # of an earlier result only what went into it, and how often it was tried; few of its images are asked about
        columns = [name for name in (*IMAGES.names, "attempts") if name != "image"] if config.retry_failed else None
        rows = ray.data.read_parquet(
            path, filesystem=system, columns=columns, include_paths=config.retry_failed is not None
        )
        rows = rows.filter(expr=_wanted(col("status"), config))
        rows = rows.repartition(target_num_rows_per_block=config.rows_per_block)
        if config.retry_failed:
            rows = rows.map_batches(_with_images, batch_format="pyarrow", batch_size=None)
        asked = rows.map_batches(Prepare(config.prompt_set, config.image_side), batch_format="pyarrow", batch_size=None)
        done = answer(asked, ask).map_batches(finish, batch_format="pyarrow", batch_size=None)
        done.write_parquet(to_path, filesystem=to_system, mode="append", **write_options(CAPTIONED))


def _with_images(rows: pa.Table) -> pa.Table:
    """Rows that were read with Ray's column `path` alone."""
    return with_images(rows.rename_columns({"path": FILE}))


def _require_each_once(source: str, data: str, config: CaptionConfig) -> None:
    import ray

    asked = Ids(source, ("sample_id",), _wanted(pc.field("status"), config))
    written = Ids(storage.join(data, "rows"), ("sample_id",))
    ray.get(ray.remote(require_each_once).remote(asked, written, [storage.join(data, "checkpoint", "asked")]))


def _finish(work: manifest.Work, expected: int, ledger: Ledger, config: CaptionConfig) -> Result:
    """Count, summarise, commit."""
    rows = work.row_files()
    end = summary.read(rows)
    counts, accuracy = end.counts, end.accuracy
    if not any(status == "ok" for status, _ in counts.statuses):
        raise ValueError(
            f"no caption out of {counts.rows} rows is usable: {counts.statuses.most_common(3)}; try another captioner, "
            "or more sampling.max_tokens where answers are truncated"
        )
    kept = summary.count(work.kept.row_files(), pc.field("status") == "ok") if work.kept else summary.Counts()
    told = summary.summarise(counts, ledger, config.host, kept)
    title = f"Captions by {config.remote.model if config.remote else config.captioner}, prompt set {config.prompt_set}"
    storage.write_bytes(storage.join(work.data, "summary.json"), json.dumps(told, indent=1).encode())
    storage.write_bytes(storage.join(work.data, "page.html"), summary.page(end, told, title).encode())
    cpus, gpus = summary.held(config.host)
    result = work.commit(
        Rows.count(counts.statuses),
        expected,
        cpus=cpus,
        gpus=gpus,
        attribute_accuracy=accuracy,
        captioning=told,
        page="page.html",
    )
    for left in ("checkpoint", "ledger", "answers"):  # not before: killed in between, all was lost
        storage.delete_tree(storage.join(work.data, left))
    return result
