"""The captioning stage: ingested rows in, the same rows with captions out, one status each."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from dermray import manifest, storage
from dermray.captioning import engine, prompts
from dermray.captioning.answers import parse, unusable
from dermray.captioning.compose import METADATA, compose
from dermray.captioning.engine import EngineConfig
from dermray.config import Config
from dermray.datasets.decode import BadImage, decode
from dermray.datasets.ingest import read_columns
from dermray.manifest import Result, Rows
from dermray.progress import rows_written, watched
from dermray.records import CAPTIONED, conform


class CaptionConfig(Config):
    """Which rows, which model, which words."""

    output: str
    rows: str = Field(description="result of the ingest stage")
    captioner: str = Field(description="result of the captioner stage, or a model directory, s3:// URI or hub id")
    prompt_set: str = "abc"
    metadata: list[str] = Field(["malignant", "skin_tone"], description=f"joined into the caption, out of {METADATA}")
    engine: EngineConfig = EngineConfig()
    rows_per_block: int = Field(256, ge=1, description="what a crash costs at most, per replica")


def run(config: CaptionConfig) -> Result:
    """Caption every usable row.

    Raises:
        FileNotFoundError, ValueError: missing inputs, unknown prompt set or metadata, no row captioned.
    """
    prompts.render(config.prompt_set, {})
    if unknown := sorted(set(config.metadata) - set(METADATA)):
        raise ValueError(f"metadata={unknown}: expected names out of {METADATA}")
    rows = manifest.read(config.rows, "ingest")
    model, name, inputs = _captioner(config.captioner)
    with manifest.work("caption", config.output, config, {"rows": rows} | inputs, captioner_model=name) as work:
        if work.finished:
            return work.finished
        target = storage.join(work.data, "rows")
        with watched(rows_written(target, rows.manifest.rows.ok)):
            _caption(
                storage.join(rows.data, "rows"), target, storage.join(work.data, "checkpoint"), model, name, config
            )
        storage.delete_tree(storage.join(work.data, "checkpoint"))
        counts = _counts(target)
        if not any(status == "ok" for status, _ in counts):
            raise ValueError(
                f"no caption out of {counts.total()} rows is usable: {counts.most_common(3)}; try another captioner"
            )
        accuracy = attribute_accuracy(target)
        replicas = config.engine.replicas
        return work.commit(
            Rows.count(counts),
            cpus=replicas * config.engine.cpus,
            gpus=replicas * config.engine.gpus,
            attribute_accuracy=accuracy,
        )


def _captioner(uri: str) -> tuple[str, str, dict[str, Result]]:
    """Where vLLM finds the model, its name for the lineage, and its manifest if one of our stages made it."""
    if not storage.is_s3(uri) and not storage.exists(storage.normalise(uri)):
        if uri.count("/") == 1 and not uri.startswith((".", "/")) and not uri.startswith("runs/"):
            return uri, uri, {}  # a hub id such as llava-hf/llava-1.5-7b-hf
        raise FileNotFoundError(
            f"captioner={uri}: no such directory; give a captioner's result, a model directory or a hub id"
        )
    uri = storage.normalise(uri)
    if storage.exists(storage.join(uri, "manifest.json")):
        made = manifest.read(uri, "captioner")
        model = storage.local_copy(storage.join(made.data, "model", "vllm"), storage.cache())
        return str(model), made.manifest.key, {"captioner": made}
    return str(storage.local_copy(uri, storage.cache())), uri, {}


def _caption(source: str, target: str, checkpoint: str, model: str, name: str, config: CaptionConfig) -> None:
    from dermray.cluster import connect

    connect()
    import ray.data
    from ray.data.expressions import col

    system, path = storage.filesystem(source)
    to_system, to_path = storage.filesystem(target)
    with resumable("sample_id", checkpoint):
        rows = ray.data.read_parquet(path, filesystem=system).filter(expr=col("status") == "ok")
        rows = rows.repartition(target_num_rows_per_block=config.rows_per_block)
        asked = rows.map_batches(_Prepare(config.prompt_set), batch_format="pyarrow", batch_size=None)
        done = engine.answer(asked, model, config.engine).map_batches(
            _Finish(name, tuple(config.metadata), config.engine.max_tokens), batch_format="pyarrow", batch_size=None
        )
        done.write_parquet(to_path, filesystem=to_system, mode="append")


class resumable:  # noqa: N801  # used as a word: `with resumable(...)`
    """Ray Data's job checkpoint for the datasets made inside: written rows are left out of the next run."""

    def __init__(self, id_column: str, checkpoint: str) -> None:
        self.id_column, self.checkpoint = id_column, checkpoint

    def __enter__(self) -> None:
        from ray.data import DataContext
        from ray.data.checkpoint import CheckpointConfig

        system, path = storage.filesystem(self.checkpoint)
        storage.make_directory(self.checkpoint)
        DataContext.get_current().checkpoint_config = CheckpointConfig(
            id_column=self.id_column,
            checkpoint_path=path,
            override_filesystem=system,
            delete_checkpoint_on_success=False,
        )

    def __exit__(self, *_: object) -> None:
        from ray.data import DataContext

        DataContext.get_current().checkpoint_config = None


class _Prepare:
    """Fill in the prompt, and decode once more: a single bad image would end the job inside ray.data.llm.

    A row that fails is shown as a blank image, so that it stays in its block, and loses its answer afterwards.
    """

    def __init__(self, prompt_set: str) -> None:
        self.prompt_set = prompt_set

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        checked = [_shown(row["image"]) for row in rows]
        questions = [prompts.render(self.prompt_set, row) for row in rows]
        table = table.append_column("shown", pa.array([image for image, _ in checked], pa.binary()))
        table = table.append_column("unreadable", pa.array([reason for _, reason in checked], pa.string()))
        return table.append_column("question", pa.array(questions, pa.string()))


def _shown(image: bytes) -> tuple[bytes, str | None]:
    try:
        decode(image)
        return image, None
    except BadImage as error:
        return _blank(), str(error)


def _blank() -> bytes:
    import numpy as np

    from dermray.datasets.phantom import encode_png

    return encode_png(np.zeros((32, 32, 3), np.uint8))


class _Finish:
    """Bring every row, answered or not, to the one schema of this stage."""

    def __init__(self, captioner: str, metadata: tuple[str, ...], max_tokens: int) -> None:
        self.captioner, self.metadata, self.max_tokens = captioner, metadata, max_tokens

    def __call__(self, table: pa.Table) -> pa.Table:
        return conform([self.row(row) for row in table.to_pylist()], CAPTIONED)

    def row(self, raw: dict[str, Any]) -> dict[str, Any]:
        """A captioned row; the reason where it is none."""
        row = {name: raw.get(name) for name in CAPTIONED.names}
        tokens = raw.get("num_generated_tokens") or 0
        finish = "length" if tokens >= self.max_tokens else "stop"
        text = (raw.get("generated_text") or "").strip()
        row |= {"prompt_hash": prompts.prompt_hash(raw["question"]), "captioner": self.captioner, "tokens_out": tokens}
        if raw["unreadable"]:
            return row | {"status": "rejected", "reason": raw["unreadable"]}
        if error := raw.get("__inference_error__"):
            return row | {"status": "failed", "reason": f"engine: {str(error)[:200]}"}
        row |= {"answer": text, "finish_reason": finish}
        if reason := unusable(text, finish):
            return row | {"status": "rejected", "reason": reason}
        said = parse(text)
        return row | {
            "caption": compose(raw, said, self.metadata),
            "said_asymmetry": said.asymmetry,
            "said_border_irregular": said.border_irregular,
            "said_colours": list(said.colours),
            "said_skin_tone": said.skin_tone,
        }


def _counts(rows: str) -> Counter[tuple[str, str | None]]:
    table = read_columns(rows, ["status", "reason"])
    return Counter(zip(table["status"].to_pylist(), table["reason"].to_pylist(), strict=True))


def attribute_accuracy(rows: str) -> dict[str, float]:
    """Share of held-out phantoms (split test) whose attribute was said right, colours as an exact set.

    Empty for photographs.
    """
    names = ["said_asymmetry", "said_border_irregular", "said_colours", "said_skin_tone"]
    truths = ["true_asymmetry", "true_border_irregular", "true_colours", "skin_tone"]
    known = (pc.field("split") == "test") & pc.field("true_asymmetry").is_valid()
    table = read_columns(rows, [*names, *truths, "status"], known).to_pylist()
    if not table:
        return {}
    keys = ("asymmetry", "border", "colours", "skin_tone")
    result = {
        key: sum(row[name] == row[truth] for row in table) / len(table)
        for key, name, truth in zip(keys, names, truths, strict=True)
    }
    return result | {"mean": sum(result.values()) / len(result), "images": len(table)}
