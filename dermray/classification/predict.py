"""The predict stage: a trained or zero-shot classifier scores every usable image of a dataset, through Ray Data."""

from collections.abc import Callable
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from dermray import manifest, storage
from dermray.captioning.resume import require_each_once, resumable
from dermray.classification import scorers, zero_shot
from dermray.classification.predictions import schema, score_columns
from dermray.classification.scorers import Scorer, Scoring
from dermray.classification.targets import BINARY, UNKNOWN, Target
from dermray.classification.zero_shot import ZeroShot
from dermray.columns import tally
from dermray.config import Config, ConfigError, HowFast
from dermray.counters import count_rows
from dermray.datasets.decode import BadImage, decode, square
from dermray.exactly_once import Ids
from dermray.manifest import Result, Rows
from dermray.progress import rows_written, watched
from dermray.result_fields import ResultOf

CLASSIFIERS, SOURCES = ("classify", "sweep"), ("ingest", "caption", "generate")
KEPT = ("sample_id", "source", "source_id", "split")  # columns of the images' rows


class PredictConfig(Config):
    """Whose scores of what."""

    output: str
    classifier: Annotated[str, ResultOf(*CLASSIFIERS)] | None = Field(
        None, description="result of the classify or sweep stage"
    )
    zero_shot: ZeroShot | None = Field(None, description="a model that was not trained here, instead")
    column: str = Field(BINARY, description="label of a zero-shot model; classes of another one are its prompts'")
    rows: Annotated[str, ResultOf(*SOURCES)] = Field(description="result of the ingest, caption or generate stage")
    actors: HowFast[int] = Field(2, ge=1)
    cpus_per_actor: HowFast[float] = Field(1, gt=0)
    gpus_per_actor: HowFast[float] = Field(0, ge=0)
    batch_size: HowFast[int] = Field(64, ge=1, description="images per block and batch: what a crash costs")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.classifier is None) == (self.zero_shot is None):
            raise ConfigError("classifier: expected this or zero_shot, one of them")
        return self

    @property
    def target(self) -> Target:
        """What a zero-shot model tells apart.

        Raises:
            ValueError: no such column, or fewer than two classes.
        """
        return Target.of(self.column, classes=self.zero_shot.prompts if self.zero_shot else ())


def run(config: PredictConfig) -> Result:
    """Score all usable rows, each once.

    Raises:
        FileNotFoundError, ValueError: missing inputs, results of other stages, or no zero-shot model there.
        ImportError: a zero-shot model without open_clip.
    """
    inputs = {"rows": result_of(config.rows, "rows", SOURCES)}
    if config.classifier:
        inputs["classifier"] = result_of(config.classifier, "classifier", CLASSIFIERS)
    revision = zero_shot.revision(config.zero_shot) if config.zero_shot else None
    with manifest.work("predict", config.output, config, inputs, **({"weights": revision} if revision else {})) as work:
        if work.finished:
            return work.finished
        if config.zero_shot:
            scoring = scorers.zero_shot_model(config.zero_shot, config.target, revision)
        else:
            scoring = scorers.trained(inputs["classifier"])
        import ray

        from dermray.cluster import connect

        connect(work.uri)
        source, target, checkpoint = (
            inputs["rows"],
            storage.join(work.data, "rows"),
            storage.join(work.data, "checkpoint"),
        )
        expected = source.manifest.rows.ok
        with watched(rows_written(target, expected, ("_Predict",))):
            _predict(scoring, source, target, checkpoint, config)
        ids = Ids(source.row_files(), ("sample_id",), pc.field("status") == "ok"), Ids(target, ("sample_id",))
        ray.get(ray.remote(require_each_once).remote(*ids, [checkpoint]))
        counts = tally(target, ["label"])
        labels = {label: number for (status, _, label), number in sorted(counts.items(), key=str) if status == "ok"}
        return work.commit(
            Rows.count(tally(target, [])),
            expected,
            temporary=["checkpoint/"],
            cpus=config.actors * config.cpus_per_actor,
            gpus=config.actors * config.gpus_per_actor,
            labels=labels,
            summary=", ".join(f"{number} {label}" for label, number in labels.items()),
        )


def result_of(uri: str, field: str, stages: tuple[str, ...]) -> Result:
    """The finished result at `uri`.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is of no such stage; names the config's `field`.
    """
    result = manifest.read(uri)
    if result.manifest.stage not in stages:
        raise ValueError(f"{field}={uri}: result of stage {result.manifest.stage!r}, expected one of {stages}")
    return result


def _predict(scoring: Scoring, source: Result, target: str, checkpoint: str, config: PredictConfig) -> None:
    import ray.data

    system, path = storage.filesystem(target)
    with resumable("sample_id", checkpoint):
        columns = list(dict.fromkeys([*KEPT, "status", "image", scoring.column]))
        rows = source.row_files().read_in_ray(columns, pc.field("status") == "ok")
        scored = rows.repartition(target_num_rows_per_block=config.batch_size).map_batches(
            _Predict,
            fn_constructor_args=[scoring.load, scoring.key, config.gpus_per_actor > 0],
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=config.actors),
            num_cpus=config.cpus_per_actor,
            num_gpus=config.gpus_per_actor,
        )
        scored.write_parquet(path, filesystem=system, mode="append")


class _Predict:
    """An actor that holds the classifier."""

    def __init__(self, load: Callable[[], Scorer], key: str, on_gpu: bool) -> None:
        self.scorer, self.key = load(), key
        if on_gpu:
            self.scorer.model.to("cuda")

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Rows with their scores; those whose image cannot be decoded fail, with the reason."""
        target, size = self.scorer.target, self.scorer.image_size
        shown, reasons = np.zeros((len(rows), 3, size, size), np.uint8), list[str | None]()
        for place, image in enumerate(rows["image"].to_pylist()):
            try:
                shown[place] = square(decode(image), size)
                reasons.append(None)
            except BadImage as error:
                reasons.append(str(error))
        failed = np.array([reason is not None for reason in reasons])
        scores, chosen = self.scorer.judge(shown)
        truth = target.numbers(rows[target.column].to_pylist())
        columns: dict[str, Any] = {name: rows[name] for name in KEPT}
        columns["truth"] = _names(truth, target.classes)
        columns["label"] = _names(np.where(failed, UNKNOWN, chosen), target.classes)
        for name, values in score_columns(target, scores).items():
            columns[name] = pa.array(values, mask=failed)
        columns |= {"model": [self.key] * len(rows), "status": np.where(failed, "failed", "ok"), "reason": reasons}
        made = pa.table(columns).select(schema(target).names).cast(schema(target))
        count_rows("predict", made)
        return made


def _names(numbers: np.ndarray, classes: tuple[str, ...]) -> list[str | None]:
    return [None if number == UNKNOWN else classes[number] for number in numbers.tolist()]
