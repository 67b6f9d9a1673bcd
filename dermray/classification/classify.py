"""The classify stage: labelled rows in, one trained classifier out, tested on the test split."""

import json
import tempfile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dermray import manifest, storage
from dermray.backbones import pretrained
from dermray.backbones.networks import build, input_of
from dermray.classification import labelled, pixel_store, saved, search, team, workers
from dermray.classification.attributes import attributes_of, estimated
from dermray.classification.classify_settings import ClassifyConfig
from dermray.classification.fairness import auc_gap, by_group
from dermray.classification.labelled import Splits
from dermray.classification.metrics import measure
from dermray.classification.pixel_store import PixelStore
from dermray.classification.predictions import score_columns
from dermray.classification.saved import Saved
from dermray.classification.targets import Target
from dermray.classification.training import probabilities, train
from dermray.classification.try_out import try_out
from dermray.classification.validated import validate
from dermray.datasets.licences import of_result
from dermray.manifest import Result, Rows
from dermray.progress import text_at, watched

SOURCES = ("ingest", "caption")
PIXELS, PROGRESS, STATE = "pixels", "progress.txt", "state.pt"
METRICS, PREDICTIONS = "metrics.json", "predictions.parquet"
TEMPORARY = (f"{PIXELS}/", "workers/", f"{search.DIRECTORY}/", STATE, PROGRESS, METRICS, workers.HOPELESS)


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
        from dermray.cluster import connect

        connect(work.uri)
        store = pixel_store.fill(config.pixels or storage.join(work.data, PIXELS), size, data.picked)
        chosen, found = search.chosen(config, data, store, work.data) if config.search else (config, {})
        arguments = {"config": chosen, "data": data, "store": store, "size": size, "directory": work.data}
        with watched(text_at(storage.join(work.data, PROGRESS))):
            workers.run(_trained, arguments, config.workers, config.cpus, config.gpus, work.data)
        metrics = json.loads(storage.read_bytes(storage.join(work.data, METRICS))) | found
        used = sum(len(split.labels) for split in data.splits.values())
        reasons = {"rejected: label unknown": data.unknown} if data.unknown else {}
        rows = Rows(rows_in=used + data.unknown, ok=used, rejected=data.unknown, failed=0, reasons=reasons)
        return work.commit(
            rows,
            rows.rows_in,
            cpus=config.workers * config.cpus,
            gpus=config.workers * config.gpus,
            temporary=TEMPORARY,
            **metrics,
        )


def _inputs(config: ClassifyConfig) -> dict[str, Result]:
    rows = manifest.read(config.rows)
    if rows.manifest.stage not in SOURCES:
        raise ValueError(f"rows={config.rows}: result of stage {rows.manifest.stage!r}, expected one of {SOURCES}")
    config.require_commercial(of_result(rows.uri, rows.manifest.licences))
    if not config.synthetic:
        return {"rows": rows}
    synthetic = manifest.read(config.synthetic, "generate")
    if (saw := synthetic.manifest.inputs.get("rows")) != rows.manifest.key:
        raise ValueError(
            f"synthetic={config.synthetic}: its generator was trained on other rows (key {saw}, these are "
            f"{rows.manifest.key}), and may have seen images that are tested on here; give the rows that it was "
            "trained on, or sweep, which compares images with those that it saw"
        )
    config.require_commercial(of_result(synthetic.uri, synthetic.manifest.licences))
    return {"rows": rows, "synthetic": synthetic}


def check(config: ClassifyConfig, data: Splits, size: int) -> None:
    """All that can be known before images are decoded.

    Raises:
        FileNotFoundError, ValueError: see `run`.
    """
    team.require_shares(config.training.batch_size, config.workers)
    if config.search:
        search.require_optuna()
    if (config.training.needs_validation or config.search) and not len(data.splits["val"].labels):
        raise ValueError(
            f"rows={config.rows}: no labelled image in the val split, which training.patience, training.keep=best and "
            "search need; ingest with fractions.val above 0, or leave them out"
        )
    try_out(config.backbone, size, data.target.outputs)
    if config.backbone.weights != pretrained.RANDOM:
        build(config.backbone, data.target.outputs)


def _trained(config: ClassifyConfig, data: Splits, store: PixelStore, size: int, directory: str, device: str) -> None:
    """Train and test in a worker; the classifier, its predictions and its metrics go to `directory`."""
    rows = {name: store.rows(split.sample_ids) for name, split in data.splits.items()}
    train_split, val, test = (data.splits[name] for name in ("train", "val", "test"))

    def report(epoch: int, metrics: dict[str, float]) -> None:
        told = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items())
        storage.write_bytes(storage.join(directory, PROGRESS), f"epoch {epoch}: {told}".encode())

    trained = train(
        store, rows["train"], train_split.labels, (rows["val"], val.labels), config.backbone, config.training,
        data.target.outputs, config.seed, storage.join(directory, STATE), report, device,
    )  # fmt: skip
    if team.rank():
        return
    scored = {name: probabilities(trained.model, store, rows[name]) for name in ("val", "test") if len(rows[name])}
    held_out = rows["val"], val.labels
    said = validate(trained.model, store, rows["train"], held_out, scored.get("val"), config.seed, config.threshold)
    with tempfile.TemporaryDirectory() as local:
        saved.save(local, Saved(trained.model, config.backbone, data.target, size, said))
        storage.copy_directory(local, storage.join(directory, "model"))
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
        for name, number in estimated(attributes_of(test.picked)).items():
            metrics["test"]["groups"][name]["estimated"] = number
        metrics["summary"] = _summary(metrics["test"]["overall"], config.training.keep, trained.best_epoch)
    storage.write_bytes(storage.join(directory, METRICS), json.dumps(metrics).encode())


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
