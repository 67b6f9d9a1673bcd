"""The classify stage: labelled rows in, one trained classifier out, tested on the test split."""

import tempfile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from dermray import manifest, storage
from dermray.classification import labelled, pixel_store, pretrained, saved
from dermray.classification.backbones import Backbone, build, input_of
from dermray.classification.fairness import auc_gap, by_group
from dermray.classification.labelled import Splits
from dermray.classification.metrics import measure
from dermray.classification.pixel_store import PixelStore
from dermray.classification.predictions import score_columns
from dermray.classification.saved import Saved
from dermray.classification.settings import TrainingSettings
from dermray.classification.targets import Target
from dermray.classification.training import probabilities, train
from dermray.classification.try_out import try_out
from dermray.config import Config, HowFast
from dermray.manifest import Result, Rows
from dermray.progress import text_at, watched

SOURCES = ("ingest", "caption")
PIXELS, PROGRESS, STATE, PREDICTIONS = "pixels", "progress.txt", "state.pt", "predictions.parquet"


class ClassifyConfig(Config):
    """What to learn from which images, and how."""

    output: str
    rows: str = Field(description="result of the ingest or caption stage: train, val and test images")
    synthetic: str | None = Field(None, description="result of the generate stage, whose images are trained on too")
    column: str = Field("malignant", description="label: malignant (binary), or entity or any other column")
    classes: tuple[str, ...] = Field((), description="of another column, if not all that the train split has")
    backbone: Backbone
    training: TrainingSettings
    image_size: int | None = Field(None, ge=8, description="px; default: what the backbone's weights were trained on")
    pixels: HowFast[str | None] = Field(
        None,
        description="directory or s3:// URI of decoded images that runs share; default: this run's, removed after it",
    )
    cpus: HowFast[float] = Field(1, gt=0)
    gpus: HowFast[float] = Field(0, ge=0)
    seed: int = Field(0, ge=0)


def run(config: ClassifyConfig) -> Result:
    """Decode, train, test.

    Raises:
        FileNotFoundError, ValueError: missing inputs, labels that cannot be learned, weights that do not fit the
            backbone, or a size that it cannot work at.
    """
    inputs = _inputs(config)
    size = config.image_size or input_of(config.backbone).size
    weights = {"weights": revision} if (revision := pretrained.revision(config.backbone.weights)) else {}
    with manifest.work("classify", config.output, config, inputs, **weights) as work:
        if work.finished:
            return work.finished
        data = labelled.read(config.column, config.classes, *inputs.values())
        check(config, data, size)
        import ray

        from dermray.cluster import connect

        connect(work.uri)
        store = pixel_store.fill(config.pixels or storage.join(work.data, PIXELS), size, data.picked)
        task = ray.remote(_trained).options(num_cpus=config.cpus, num_gpus=config.gpus)
        with watched(text_at(storage.join(work.data, PROGRESS))):
            metrics = ray.get(task.remote(config, data, store, size, work.data))
        used = sum(len(split.labels) for split in data.splits.values())
        reasons = {"rejected: label unknown": data.unknown} if data.unknown else {}
        rows = Rows(rows_in=used + data.unknown, ok=used, rejected=data.unknown, failed=0, reasons=reasons)
        result = work.commit(rows, rows.rows_in, cpus=config.cpus, gpus=config.gpus, **metrics)
        storage.delete_tree(storage.join(work.data, PIXELS))  # not before: killed in between, it would be made again
        for left in (STATE, PROGRESS):
            storage.delete_file(storage.join(work.data, left))
        return result


def _inputs(config: ClassifyConfig) -> dict[str, Result]:
    rows = manifest.read(config.rows)
    if rows.manifest.stage not in SOURCES:
        raise ValueError(f"rows={config.rows}: result of stage {rows.manifest.stage!r}, expected one of {SOURCES}")
    return {"rows": rows} | ({"synthetic": manifest.read(config.synthetic, "generate")} if config.synthetic else {})


def check(config: ClassifyConfig, data: Splits, size: int) -> None:
    """All that can be known before images are decoded.

    Raises:
        FileNotFoundError, ValueError: see `run`.
    """
    if config.training.needs_validation and not len(data.splits["val"].labels):
        raise ValueError(
            f"rows={config.rows}: no labelled image in the val split, which training.patience and training.keep=best "
            "need; ingest with fractions.val above 0, or leave both out"
        )
    try_out(config.backbone, size, data.target.outputs)
    if config.backbone.weights != pretrained.RANDOM:
        build(config.backbone, data.target.outputs)


def _trained(config: ClassifyConfig, data: Splits, store: PixelStore, size: int, directory: str) -> dict[str, Any]:
    """Train and test in a task; the classifier and its predictions go to `directory`. Returns the metrics."""
    rows = {name: store.rows(split.sample_ids) for name, split in data.splits.items()}
    train_split, val, test = (data.splits[name] for name in ("train", "val", "test"))

    def report(epoch: int, metrics: dict[str, float]) -> None:
        told = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items())
        storage.write_bytes(storage.join(directory, PROGRESS), f"epoch {epoch}: {told}".encode())

    trained = train(
        store, rows["train"], train_split.labels, (rows["val"], val.labels), config.backbone, config.training,
        data.target.outputs, config.seed, storage.join(directory, STATE), report, "cuda" if config.gpus else "cpu",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as local:
        saved.save(local, Saved(trained.model, config.backbone, data.target, size))
        storage.copy_directory(local, storage.join(directory, "model"))
    scored = {name: probabilities(trained.model, store, rows[name]) for name in ("val", "test") if len(rows[name])}
    _write_predictions(directory, data, scored)
    metrics: dict[str, Any] = {
        "column": data.target.column,
        "classes": list(data.target.classes),
        "images": data.images,
        "image_size": size,
        "history": trained.history,
        "best_epoch": trained.best_epoch,
    }
    if "test" in scored:
        metrics["test"] = measured(test.labels, scored["test"], test.tones, data.target)
        metrics["summary"] = _summary(metrics["test"]["overall"], config.training.keep, trained.best_epoch)
    return metrics


def _write_predictions(directory: str, data: Splits, scored: dict[str, np.ndarray]) -> None:
    """A row per validation and test image: sample_id, split, truth, and the score of each class."""
    parts = []
    for name, scores in scored.items():
        split = data.splits[name]
        columns = {"sample_id": split.sample_ids, "split": [name] * len(scores)}
        columns["truth"] = [data.target.classes[number] for number in split.labels]
        parts.append(pa.table({**columns, **score_columns(data.target, scores)}))
    if parts:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.concat_tables(parts), sink)
        storage.write_bytes(storage.join(directory, PREDICTIONS), memoryview(sink.getvalue()))


def measured(labels: np.ndarray, scores: np.ndarray, tones: list[str], target: Target) -> dict[str, Any]:
    """Overall, per class, and per skin tone with the largest gap in AUC.

    Args:
        labels: (N,) int64. scores: (N, C) probabilities. tones: N names.
    """
    groups = by_group(labels, scores, tones)
    return measure(labels, scores, target.classes) | {"groups": groups, "auc_gap": auc_gap(groups)}


def _summary(overall: dict[str, Any], keep: str, best_epoch: int | None) -> str:
    told = {"AUC": overall["auc"], "accuracy": overall["accuracy"], "balanced accuracy": overall["balanced_accuracy"]}
    values = ", ".join(f"{name} {value:.3f}" for name, value in told.items() if value is not None)
    kept = f"; weights of epoch {best_epoch}" if keep == "best" else ""
    return f"{overall['images']} test images: {values}{kept}"
