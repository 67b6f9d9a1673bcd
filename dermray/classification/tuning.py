"""Trials in Ray Tune: those that are not finished, until all are.

No scheduler and no searcher. The arms are pairs: a scheduler that stops the worse half early would stop some trials of
a pair and not others, and would judge by the number which the sweep is to measure. Nor is Tune's own restore used: what
is finished lies by key in `trial_files`, so a driver that starts again asks for what is missing, whatever was killed.
"""

from collections.abc import Callable, Iterable
from typing import Any

from dermray import storage
from dermray.classification import trial_files
from dermray.classification.grid import Trial
from dermray.classification.table import LiveTable
from dermray.classification.tuning_settings import TuneSettings
from dermray.failures import plain_cause
from dermray.progress import watched

ROUNDS_FOR_NOTHING = 3  # of trials that the machine failed, after which it is the machine that needs help
WAITING = 0.001  # CPUs of a trial that waits for workers of its own; Tune's trials must have some
TUNE, TRIALS = "tune", "trials"


def complete(
    trials: list[Trial],
    directory: str,
    train: Callable[[dict[str, Any]], None],
    settings: TuneSettings,
    with_model: Iterable[str] = (),
    apart: bool = False,
) -> None:
    """Run the trials that are not finished below `directory`/trials.

    Args:
        train: one trial, given what `Trial.named` says of it, in a Tune worker; it ends with `trial_files.write`.
        with_model: keys of trials whose weights are kept.
        apart: a trial is trained by workers of its own, which take its resources; Tune's only waits for them.

    Raises:
        ValueError: a trial failed by itself, or the machine failed all of them several times.
    """
    place = storage.join(directory, TRIALS)
    table, failures = LiveTable(place, trials), list[BaseException]()
    missing, patience = _missing(trials, place, with_model), ROUNDS_FOR_NOTHING
    while missing and patience:
        with watched(table.read):
            failures = _fit(missing, directory, train, settings, apart)
        if own := [error for error in failures if not by_the_machine(error)]:
            raise ValueError(f"{len(own)} of {len(trials)} trials failed, one of them with: {plain_cause(own[0])}")
        left = _missing(trials, place, with_model)
        patience = ROUNDS_FOR_NOTHING if len(left) < len(missing) else patience - 1
        missing = left
    if missing:
        why = plain_cause(failures[0]) if failures else "Ray Tune does not say why"
        raise ValueError(f"{len(missing)} of {len(trials)} trials failed {ROUNDS_FOR_NOTHING} times: {why}")
    table.show()


def _missing(trials: list[Trial], place: str, with_model: Iterable[str]) -> list[Trial]:
    done = trial_files.finished(place, with_model)
    return [trial for trial in trials if trial.key not in done]


def _fit(
    missing: list[Trial],
    directory: str,
    train: Callable[[dict[str, Any]], None],
    settings: TuneSettings,
    apart: bool,
) -> list[BaseException]:
    """One Tune run, in a directory of its own. What its trials failed with."""
    from ray import tune

    resources = {"cpu": WAITING if apart else settings.cpus_per_trial}
    if settings.gpus_per_trial and not apart:
        resources["gpu"] = settings.gpus_per_trial  # a fraction: several trials share one
    system, path = storage.filesystem(storage.join(directory, TUNE))
    storage.make_directory(storage.join(directory, TUNE))
    starts = len(storage.list_directories(storage.join(directory, TUNE)))
    tuner = tune.Tuner(
        tune.with_resources(train, resources),
        # one key, so that TensorBoard's HParams and the others have all that tells a trial
        param_space={"trial": tune.grid_search([trial.named() for trial in missing])},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=settings.concurrent,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name=f"start-{starts:03}",
            storage_path=path,
            storage_filesystem=system,
            verbose=0,
            callbacks=settings.callbacks(storage.join(directory, TUNE)),
        ),
    )
    return list(tuner.fit().errors)


def _name(trial: Any) -> str:
    """Of a trial's directory: what a dashboard lists. Names of arms and timm's have no place in a path as they are."""
    named = trial.config["trial"]
    words = [named["arm"], named["backbone"], f"{named['real_images']} real", f"seed {named['seed']}", named["key"][:6]]
    return "-".join("".join(c if c.isalnum() or c in ".+" else "_" for c in word) for word in words)


def by_the_machine(error: BaseException) -> bool:
    """Whether a trial may succeed when it is run once more: its process died, or Tune gave it up.

    Tune does so where a process, used again, was slow to let go of the trial before. What a trial itself raised it
    would raise again.
    """
    from ray.exceptions import RayError
    from ray.tune import TuneError

    return issubclass(plain_cause(error).kind, (RayError, TuneError, OSError, MemoryError))
