"""One classifier of a sweep, in a Tune worker. A module of its own: the worker imports no plots."""

import tempfile
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dermray import storage
from dermray.backbones.networks import Backbone
from dermray.classification import saved, team, trial_files, workers
from dermray.classification.arms import Arm, choose
from dermray.classification.attributes import attributes_of, estimated
from dermray.classification.calibration import Calibration, of_validation
from dermray.classification.fairness import auc_gap, by_group
from dermray.classification.metrics import measure
from dermray.classification.pixel_store import PixelStore
from dermray.classification.pools import Pools
from dermray.classification.saved import Saved
from dermray.classification.settings import Threshold, TrainingSettings
from dermray.classification.targets import Target
from dermray.classification.training import Images, Report, Trained, probabilities, train
from dermray.classification.validated import validate

STATE, WORKERS = "state.pt", "workers"  # of a training under way: its state, and the notes of Ray Train
BETWEEN_REPORTS = 1.0  # seconds: each waits for the driver, and epochs of nano models take less


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a sweep share: small, for it travels to each. Images and labels lie where it says."""

    arms: dict[str, Arm]  # by name
    backbones: dict[str, Backbone]  # by name
    sizes: dict[str, int]  # px, by the backbone's name
    training: TrainingSettings
    threshold: Threshold
    target: Target
    balanced: bool
    first_seed: int
    pools: Pools
    pixels: str  # the store of decoded images
    trials: str  # directory of what finished trials leave
    kept: frozenset[str]  # keys of the trials whose weights are kept
    workers: int = 1  # processes that share each batch
    cpus: float = 1  # of each worker
    gpus: float = 0


def trial(config: dict[str, Any], settings: TrialSettings) -> None:
    """Train, test, leave what `trial_files` says; tell Tune how it goes.

    Args:
        config: `trial`: what `grid.Trial.named` says of it.
    """
    from ray import tune

    named, alone = config["trial"], settings.workers == 1
    tune.report(_finish(named, settings, _device(), _Reports()) if alone else _by_several(named, settings))


def _by_several(named: dict[str, Any], settings: TrialSettings) -> dict[str, float]:
    """The same by a Ray Train of several workers, whose curves Tune's loggers get when they are done."""
    from ray import tune

    place = storage.join(settings.trials, named["key"])
    arguments = {"named": named, "settings": settings}
    workers.run(_member, arguments, settings.workers, settings.cpus, settings.gpus, storage.join(place, WORKERS))
    for number, line in enumerate(trial_files.curve_of(settings.trials, named["key"]), start=1):
        tune.report({"epoch": number} | line)
    storage.delete_tree(storage.join(place, WORKERS))
    [result] = trial_files.results(settings.trials, [named["key"]])
    return _flat(result["tests"])


def _member(named: dict[str, Any], settings: TrialSettings, device: str) -> None:
    """One of several workers."""
    _finish(named, settings, device, lambda epoch, metrics: None)


def _finish(named: dict[str, Any], settings: TrialSettings, device: str, report: Report) -> dict[str, float]:
    """Train, test, leave what `trial_files` says: all of it by the first worker, where there are several."""
    store = PixelStore.open(settings.pixels, settings.sizes[named["backbone"]])
    trained, images = _train(named, settings, store, device, report)
    if team.rank():
        return {}
    scores = {name: probabilities(trained.model, store, rows) for name, (rows, _) in _scored(settings, store).items()}
    held_back = settings.pools.read(settings.pools.validation)[1]
    chosen = of_validation(held_back, scores.get(trial_files.VALIDATION), settings.threshold)
    tests = {name: _measured(scores[name], name, chosen, settings) for name in settings.pools.tests}
    result = named | {"training_images": images, "best_epoch": trained.best_epoch, "calibration": chosen.as_dict()}
    result |= {"tests": tests}
    result |= {"auc": tests[settings.pools.tests[0]]["overall"]["auc"]}
    _leave(named["key"], result, scores, trained, settings, store)
    return _flat(tests) | trained.history[-1]


def _flat(tests: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The metrics of each test set as a whole, as trackers take them."""
    named = ((f"{name}/{metric}", value) for name, told in tests.items() for metric, value in told["overall"].items())
    return {name: value for name, value in named if value is not None}


def _train(
    named: dict[str, Any], settings: TrialSettings, store: PixelStore, device: str, report: Report
) -> tuple[Trained, int]:
    """The classifier, and of how many images."""
    rows, labels = _training_images(named, settings, store)
    backbone, training = settings.backbones[named["backbone"]], settings.training
    # without a need for it, nano trainings of seconds would spend half of them on validation images
    watched = training.needs_validation or training.epochs is not None
    held_out = _images(store, settings.pools.validation) if watched else None
    trained = train(
        store, rows, labels, held_out, backbone, training, settings.target.outputs, _seed(named, settings),
        storage.join(settings.trials, named["key"], STATE), report, device,
    )  # fmt: skip
    return trained, len(labels)


def _training_images(named: dict[str, Any], settings: TrialSettings, store: PixelStore) -> Images:
    arm, pools = settings.arms[named["arm"]], settings.pools
    real_ids, real_labels = pools.read(pools.real)
    drawn_ids, drawn_labels = pools.read(pools.synthetic[arm.source]) if arm.synthetic_ratio else ([], np.empty(0, int))
    chosen = choose(arm, real_labels, drawn_labels, named["real_images"], _seed(named, settings), settings.balanced)
    ids = [real_ids[i] for i in chosen.real] + [drawn_ids[i] for i in chosen.synthetic]
    return store.rows(ids), chosen.labels


def _seed(named: dict[str, Any], settings: TrialSettings) -> int:
    return settings.first_seed + int(named["seed"])


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"  # Tune shows a trial the GPUs that it was given


class _Reports:
    """Curves to Tune and so to its loggers, not more often than every so many seconds."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, epoch: int, metrics: dict[str, float]) -> None:
        from ray import tune

        if time.monotonic() - self.last >= BETWEEN_REPORTS:
            tune.report({"epoch": epoch} | metrics)
            self.last = time.monotonic()


def _images(store: PixelStore, pool: str) -> Images:
    ids, labels = Pools.read(pool)
    return store.rows(ids), labels


def _scored(settings: TrialSettings, store: PixelStore) -> dict[str, Images]:
    """All images that a finished classifier scores."""
    named = {trial_files.VALIDATION: settings.pools.validation}
    named |= {name: settings.pools.test(name) for name in settings.pools.tests}
    found = {name: _images(store, pool) for name, pool in named.items()}
    return {name: images for name, images in found.items() if len(images[0])}


def _measured(scores: np.ndarray, name: str, chosen: Calibration, settings: TrialSettings) -> dict[str, Any]:
    """As the sweep's table has it: scaled, and decided where the validation images say."""
    rows = settings.pools.read_rows(settings.pools.test(name))
    labels = rows["label"].to_numpy()
    scaled, threshold = chosen.scale(scores), chosen.threshold
    attributes = attributes_of(rows)
    groups = by_group(labels, scaled, attributes["skin_tone"], threshold)
    for name, number in estimated(attributes).items():
        groups[name]["estimated"] = number
    told = measure(labels, scaled, settings.target.classes, threshold)
    return told | {"groups": groups, "auc_gap": auc_gap(groups)}


def _leave(
    key: str,
    result: dict[str, Any],
    scores: dict[str, np.ndarray],
    trained: Trained,
    settings: TrialSettings,
    store: PixelStore,
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        model = None
        if key in settings.kept:
            name = result["backbone"]
            size = settings.sizes[name]
            rows, seed = _training_images(result, settings, store)[0], _seed(result, settings)
            held_out = _images(store, settings.pools.validation)
            scored = scores.get(trial_files.VALIDATION)
            said = validate(trained.model, store, rows, held_out, scored, seed, settings.threshold)
            saved.save(directory, Saved(trained.model.cpu(), settings.backbones[name], settings.target, size, said))
            model = directory
        trial_files.write(settings.trials, key, result, scores, list(trained.history), model)
    storage.delete_file(storage.join(settings.trials, key, STATE))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the process goes on with another trial, and others share its GPU
