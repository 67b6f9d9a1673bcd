"""Search over learning rate and augmentation by Ray Tune: Optuna proposes, ASHA stops what falls behind.

Trials are judged by their validation loss; the classifier is then trained anew with the best settings, and the test
split is seen once. A search that was cut short goes on with its finished trials; ASHA's rungs begin anew then, which
may let a trial run longer. Sweeps search nothing: their arms are compared in pairs, and a scheduler that stops the
worse arm early would decide the comparison.
"""

import importlib.util
import json
from typing import Any

from dermray import storage
from dermray.classification.classify_settings import ClassifyConfig
from dermray.classification.labelled import Labelled, Splits
from dermray.classification.pixel_store import PixelStore
from dermray.classification.state import VALIDATION_LOSS
from dermray.failures import plain_cause
from dermray.progress import files_written, watched

DIRECTORY, FOUND, GRACE = "search", "found.json", 0.1  # the share of a training that no trial is stopped before
REPORTED = "result.json"  # Tune's, of each trial


def require_optuna() -> None:
    """Raises ImportError: it is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise ImportError("search needs Optuna; pip install 'dermray[search]'")


def chosen(
    config: ClassifyConfig, data: Splits, store: PixelStore, directory: str
) -> tuple[ClassifyConfig, dict[str, Any]]:
    """The config with the best learning rate and augmentation, and `search`: what was tried, best first.

    Raises:
        ValueError: every trial failed.
    """
    place = storage.join(directory, DIRECTORY)
    if not storage.exists(storage.join(place, FOUND)):
        found = _search(config, data, store, place)
        storage.write_bytes(storage.join(place, FOUND), json.dumps(found).encode())
    tried = json.loads(storage.read_bytes(storage.join(place, FOUND)))
    return _with(config, tried[0]), {"search": tried}


def _with(config: ClassifyConfig, tried: dict[str, Any]) -> ClassifyConfig:
    backbone = config.backbone.model_copy(update={"learning_rate": tried["learning_rate"]})
    training = config.training.model_copy(update={"augmentation": tried["augmentation"]})
    return config.model_copy(update={"backbone": backbone, "training": training})


def _search(config: ClassifyConfig, data: Splits, store: PixelStore, place: str) -> list[dict[str, Any]]:
    """Settings, epochs and lowest validation loss of each trial, best first."""
    from ray import tune

    resources = {"cpu": config.cpus} | ({"gpu": config.gpus} if config.gpus else {})
    splits = (data.splits["train"], data.splits["val"])
    given = {"config": config, "outputs": data.target.outputs, "splits": splits, "store": store}
    trainable = tune.with_resources(tune.with_parameters(_trial, **given), resources)
    system, path = storage.filesystem(place)
    with watched(files_written(place, REPORTED, "trials begun", _settings(config).trials)):
        if storage.exists(storage.join(place, "tune", "tuner.pkl")):
            tuner = tune.Tuner.restore(
                f"{path}/tune", trainable=trainable, storage_filesystem=system, resume_errored=True
            )
        else:
            run = tune.RunConfig(name="tune", storage_path=path, storage_filesystem=system, verbose=0)
            epochs = len(config.training.rounds(len(splits[0].labels)))
            tuner = tune.Tuner(
                trainable, param_space=_space(config), tune_config=_tuning(config, epochs), run_config=run
            )
        results = tuner.fit()
    tried = [_told(result) for result in results if result.metrics and VALIDATION_LOSS in result.metrics]
    if not tried:
        raise ValueError(f"all {len(results)} trials failed, one of them with: {plain_cause(results.errors[0])}")
    return sorted(tried, key=lambda trial: float(trial[VALIDATION_LOSS]))


def _settings(config: ClassifyConfig) -> Any:
    assert config.search is not None
    return config.search


def _space(config: ClassifyConfig) -> dict[str, Any]:
    from ray import tune

    search = _settings(config)
    return {
        "learning_rate": tune.loguniform(*search.learning_rate),
        "augmentation": tune.choice(list(search.augmentation)),
    }


def _tuning(config: ClassifyConfig, epochs: int) -> Any:
    """Optuna and ASHA."""
    import optuna
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    search = _settings(config)
    return tune.TuneConfig(
        metric=VALIDATION_LOSS,
        mode="min",
        num_samples=search.trials,
        search_alg=OptunaSearch(seed=config.seed),
        scheduler=ASHAScheduler(max_t=epochs, grace_period=max(1, round(GRACE * epochs))),
        max_concurrent_trials=search.concurrent,
    )


def _trial(
    tried: dict[str, Any], config: ClassifyConfig, outputs: int, splits: tuple[Labelled, Labelled], store: PixelStore
) -> None:
    """One training; its validation loss after each epoch to Tune."""
    from ray import tune

    from dermray.classification.training import train

    (rows, labels), validation = ((store.rows(split.sample_ids), split.labels) for split in splits)
    given = _with(config, tried)
    train(
        store, rows, labels, validation, given.backbone, given.training, outputs, given.seed,
        report=lambda epoch, metrics: tune.report(metrics), device="cuda" if config.gpus else "cpu",
    )  # fmt: skip


def _told(result: Any) -> dict[str, Any]:
    """Of one trial."""
    lowest = result.metrics_dataframe[VALIDATION_LOSS].min() if result.metrics_dataframe is not None else None
    return {
        "learning_rate": result.config["learning_rate"],
        "augmentation": result.config["augmentation"],
        "epochs": result.metrics["training_iteration"],
        VALIDATION_LOSS: float(result.metrics[VALIDATION_LOSS] if lowest is None else lowest),
    }
