"""The sweep: Ray Tune over arm x backbone x seed, then a verdict over pairs."""

import json
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from dermray import manifest, storage
from dermray.classification import page
from dermray.classification.analysis import analyse
from dermray.classification.arms import ARMS, POSITIVE, arm, choose
from dermray.classification.backbones import Backbone
from dermray.classification.held_out import HeldOut, Scored
from dermray.classification.images import image_size, load
from dermray.classification.training import try_out
from dermray.classification.trial import CLASSES, WEIGHTS, TrialSettings, trial
from dermray.config import Config
from dermray.failures import plain_cause
from dermray.manifest import Result, Rows
from dermray.progress import busy, files_written, watched


class SweepConfig(Config):
    """How many real images the few are, and over what to sweep."""

    output: str
    rows: str = Field(description="result of the caption stage: the real rows")
    synthetic: str = Field(description="result of the generate stage")
    real_images: int = Field(100, ge=4, description="the few")
    seeds: int = Field(3, ge=2)
    backbones: list[Backbone] = Field(
        [Backbone(name="test_resnet", learning_rate=6e-3), Backbone(name="test_efficientnet", learning_rate=1e-2)],
        min_length=1,
    )
    steps: int = Field(150, ge=10)
    batch_size: int = Field(32, ge=2)
    max_test_images: int = Field(4000, ge=10)
    concurrent: int = Field(2, ge=1)
    cpus_per_trial: float = Field(1, gt=0)
    gpus_per_trial: float = Field(0, ge=0)
    resamples: int = Field(500, ge=10)
    seed: int = Field(0, ge=0)

    @field_validator("backbones")
    @classmethod
    def _told_apart(cls, backbones: list[Backbone]) -> list[Backbone]:
        """Trials are told apart by the name of their backbone."""
        names = [backbone.name for backbone in backbones]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected each name once, got {twice} more than once; sweep them in two runs")
        return backbones


def run(config: SweepConfig) -> Result:
    """Train len(ARMS) x backbones x seeds classifiers and compare them in pairs.

    Raises:
        FileNotFoundError, ValueError: missing inputs, a backbone that cannot work at the images' size, too few images,
            leaking rows, failed trials.
    """
    rows, synthetic = manifest.read(config.rows, "caption"), manifest.read(config.synthetic, "generate")
    if synthetic.manifest.inputs["rows"] != rows.manifest.key:
        raise ValueError(
            f"synthetic={config.synthetic}: drawn by a generator of other rows; its test split is not this one"
        )
    with manifest.work("sweep", config.output, config, {"rows": rows, "synthetic": synthetic}) as work:
        if work.finished:
            return work.finished
        for backbone in config.backbones:
            try_out(backbone, image_size(synthetic))
        import ray

        from dermray.cluster import connect

        connect(work.uri)
        with watched(busy("reading images")):
            images = ray.get(ray.remote(load).remote(rows, synthetic, config.max_test_images))
        for each in ARMS:  # before any trial starts
            choose(each, images["real_labels"], images["synthetic_labels"], config.real_images, 0)
        number = len(ARMS) * len(config.backbones) * config.seeds
        with watched(files_written(storage.join(work.data, "tune"), WEIGHTS, "trials done", number)):
            trials = _tune(images, work.data, config)
        metrics = _metrics(trials, images, work.data, config)
        _keep_served(trials, work.data, config)
        used = len(images["real_labels"]) + len(images["synthetic_labels"]) + len(images["test_labels"])
        counts = Rows(rows_in=used, ok=used, rejected=0, failed=0)
        return work.commit(counts, used, cpus=config.concurrent * config.cpus_per_trial, **metrics)


def _tune(images: dict[str, Any], directory: str, config: SweepConfig) -> list[dict[str, Any]]:
    """One dict per trial, with its test scores."""
    from ray import tune

    resources = {"cpu": config.cpus_per_trial} | ({"gpu": config.gpus_per_trial} if config.gpus_per_trial else {})
    settings = TrialSettings(
        {backbone.name: backbone for backbone in config.backbones},
        config.real_images,
        config.steps,
        config.batch_size,
        config.seed * 1000,
    )
    trainable = tune.with_resources(tune.with_parameters(trial, images=images, settings=settings), resources)
    system, path = storage.filesystem(directory)
    space = {
        "arm": tune.grid_search([each.name for each in ARMS]),
        "seed": tune.grid_search(list(range(config.seeds))),
        "backbone": tune.grid_search([b.name for b in config.backbones]),
    }
    run_config = tune.RunConfig(name="tune", storage_path=path, storage_filesystem=system, verbose=0)

    def restored() -> Any:
        uri = f"{path}/tune"
        return tune.Tuner.restore(uri, trainable=trainable, storage_filesystem=system, resume_errored=True)

    if storage.exists(storage.join(directory, "tune", "tuner.pkl")):  # an interrupted sweep: only what is missing runs
        tuner = restored()
    else:
        limits = tune.TuneConfig(max_concurrent_trials=config.concurrent, reuse_actors=True)
        tuner = tune.Tuner(trainable, param_space=space, tune_config=limits, run_config=run_config)
    results = tuner.fit()
    if results.errors and all(by_the_machine(error) for error in results.errors):
        results = restored().fit()
    if errors := results.errors:
        first = min(errors, key=by_the_machine)
        raise ValueError(f"{len(errors)} of {len(results)} trials failed, one of them with: {plain_cause(first)}")
    return [_trial_of(result) for result in results]


def by_the_machine(error: BaseException) -> bool:
    """Whether a trial may succeed when it is run once more: its process died, or Tune gave it up.

    Tune does so where a process, used again, was slow to let go of the trial before. What a trial itself raised it
    would raise again.
    """
    from ray.exceptions import RayError
    from ray.tune import TuneError

    return issubclass(plain_cause(error).kind, (RayError, TuneError, OSError, MemoryError))


def _trial_of(result: Any) -> dict[str, Any]:
    return {**result.config, "auc": result.metrics["auc"], "checkpoint": result.checkpoint} | json.loads(
        result.metrics["details"]
    )


def _metrics(
    trials: list[dict[str, Any]], images: dict[str, Any], directory: str, config: SweepConfig
) -> dict[str, Any]:
    """What goes into the manifest: trials without their scores, and all that they say of the test set."""
    left_out = ("scores", "checkpoint")
    held_out = HeldOut(
        "test", CLASSES, images["test_labels"].astype(np.int64), images["test_groups"], images["test_attributes"]
    )
    scored = [_scored(trial, config) for trial in trials]
    analysis = analyse(scored, [held_out], config.resamples, config.seed)
    page.write(directory, "dermray sweep", [(analysis, scored, [held_out])])
    return {
        "trials": [
            {k: v for k, v in trial.items() if k not in left_out} | {"ratio": arm(trial["arm"]).synthetic_ratio}
            for trial in sorted(trials, key=lambda t: (t["backbone"], t["arm"], t["seed"]))
        ],
        "verdict": analysis["verdict"],
        "tested": [analysis],
        "image_size": int(images["test"].shape[-1]),
    }


def _scored(trial: dict[str, Any], config: SweepConfig) -> Scored:
    chosen, malignant = arm(trial["arm"]), np.array(trial["scores"])
    probabilities = np.stack([1 - malignant, malignant], axis=1)
    return Scored(
        chosen.name, chosen.role, config.real_images, trial["backbone"], trial["seed"], probabilities,
        chosen.synthetic_ratio,
    )  # fmt: skip


def _keep_served(trials: list[dict[str, Any]], directory: str, config: SweepConfig) -> None:
    """The classifier to serve: first backbone, first seed, most real images. Chosen before it was tested."""
    wanted = {"arm": POSITIVE, "backbone": config.backbones[0].name, "seed": 0}
    served = next(t for t in trials if wanted.items() <= t.items())
    with served["checkpoint"].as_directory() as local:
        storage.copy_directory(str(local), storage.join(directory, "model"))
