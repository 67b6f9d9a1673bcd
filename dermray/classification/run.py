"""The sweep: Ray Tune over backbone x number of real images x arm x seed, then what it says."""

from collections.abc import Sequence
from typing import Any

from dermray import manifest, storage
from dermray.backbones import pretrained
from dermray.backbones.networks import build, input_of
from dermray.classification import extension, team, trial_files, zero_shot, zero_shot_scores
from dermray.classification.grid import Trial, grid
from dermray.classification.overlap import in_words, write_fingerprints
from dermray.classification.prepare import Prepared, Prints, Wanted, prepare
from dermray.classification.report_block import report_block as report_block  # into a run's report
from dermray.classification.sources import UNKNOWN, Source, read_rows
from dermray.classification.sweep_settings import SweepConfig
from dermray.classification.targets import BINARY, Target
from dermray.classification.test_sets import OWN, External
from dermray.classification.trial import TrialSettings, trial
from dermray.classification.try_out import try_out
from dermray.classification.tuning import TRIALS, complete
from dermray.classification.zero_shot_scores import Baseline, baselines
from dermray.config import decisive
from dermray.manifest import Result, Rows, Work
from dermray.progress import busy, watched

PIXELS = "pixels"  # images that the trials read
Tests = Sequence[tuple[External, Result]]
Models = dict[str, dict[str, Any]]  # by a backbone's name the revision of its weights, and its images' size in px


def run(config: SweepConfig) -> Result:
    """Train a classifier for each arm, real count, backbone and seed, and compare them in pairs.

    Raises:
        FileNotFoundError, ValueError: missing inputs, a backbone that cannot work at the images' size, a zero-shot
            model that cannot be read, too few images, leaking rows, test images that were seen in training, an earlier
            sweep of other data, failed trials. ImportError: zero-shot models without open_clip.
    """
    Target.of(config.column, classes=config.classes or ("a", "b"))  # a wrong name, before anything is begun
    rows = read_rows(config.rows)
    sources = [Source(given, rows) for given in config.sources]
    tests = [(given, read_rows(given.rows)) for given in config.test_sets]
    inputs, models = _inputs(rows, sources, tests), _models(config)
    weights = {f"weights.{name}": model["weights"] for name, model in models.items() if model["weights"]}
    revisions = {given.name: zero_shot.revision(given) for given in config.zero_shot}
    weights |= {f"weights.zero_shot.{name}": revision for name, revision in revisions.items() if revision}
    with manifest.work("sweep", config.output, config, inputs, **weights) as work:
        if work.finished:
            return work.finished
        earlier = extension.extended(config, work) if config.extend else None
        _try_out(config, models)
        untrained = [(given, zero_shot.image_size(given), revisions[given.name]) for given in config.zero_shot]
        import ray

        from dermray.cluster import connect

        connect(work.uri)
        prints = _fingerprints(work.data, rows, sources, tests)
        with watched(busy("choosing images")):
            prepared = ray.get(ray.remote(prepare).remote(work.data, rows, sources, tests, _wanted(config), prints))
        _say(prepared, sources)
        _require_validation(prepared, config)
        shared = _shared(config, prepared, inputs)
        trials, others = _grid(config, shared, sources, models), baselines(untrained, shared)
        kept = {trial.key for trial in trials} if config.keep_models == "all" else {_served(trials).key}
        if earlier:
            extension.take_over(earlier, work, [trial.key for trial in trials] + [other.key for other in others], kept)
        place = storage.join(work.data, TRIALS)
        zero_shot_scores.score(others, prepared, _store(work, config), place, config.tune)  # no weights fail it later
        _train(trials, prepared, models, kept, work, config)
        return _finish(trials, others, prepared, models, work, config)


def _inputs(rows: Result, sources: Sequence[Source], tests: Tests) -> dict[str, Result]:
    """All results that are read, by the name under which the manifest has them."""
    inputs = {"rows": rows} | {f"synthetic.{source.name}".rstrip("."): source.result for source in sources}
    inputs |= {f"synthetic.{source.name}.trained_on": source.seen for source in sources if source.seen}
    return inputs | {f"test_sets.{given.name}": result for given, result in tests}


def _models(config: SweepConfig) -> Models:
    return {
        each.name: {"weights": pretrained.revision(each.weights), "size": config.image_size or input_of(each).size}
        for each in config.backbones
    }


def _try_out(config: SweepConfig, models: Models) -> None:
    team.require_shares(config.training.batch_size, config.workers_per_trial)
    outputs = 1 if config.column == BINARY else max(2, len(config.classes))
    for backbone in config.backbones:
        try_out(backbone, models[backbone.name]["size"], outputs)
        if backbone.weights != pretrained.RANDOM:
            build(backbone, outputs)
    if config.column == BINARY or config.classes:  # else the rows say which classes there are
        for given in config.zero_shot:
            zero_shot.texts(given, Target.of(config.column, classes=config.classes))


def _fingerprints(directory: str, rows: Result, sources: Sequence[Source], tests: Tests) -> Prints:
    """Of other test sets and of what they must not share images with; of the rows' own test split where a generator of
    other rows may have seen it, or others drew the images."""
    found, foreign = dict[tuple[str, ...], str](), [source for source in sources if source.seen]
    others = [source for source in sources if source.of_others]

    def printed(result: Result, *splits: str) -> str:
        """Results that are several test sets are looked at once."""
        name = (result.manifest.key, *splits)
        if name not in found:
            found[name] = storage.join(directory, "fingerprints", "-".join(name))
            write_fingerprints(result.row_files(), splits, found[name])
        return found[name]

    with watched(busy("fingerprints of images")):
        return Prints(
            {given.name: printed(result) for given, result in tests}
            | ({OWN: printed(rows, "test")} if foreign or others else {}),
            printed(rows, "train", "val") if tests else None,
            {source.name: printed(source.seen, *source.saw) for source in foreign if source.seen},
            {source.name: printed(source.result) for source in others},
        )


def _wanted(config: SweepConfig) -> Wanted:
    seeds = [config.first_seed + seed for seed in range(config.seeds)]
    return Wanted(
        config.column, config.classes, config.all_arms, config.real_counts, seeds, config.balanced,
        config.max_test_images, config.max_validation_images,
    )  # fmt: skip


def _require_validation(prepared: Prepared, config: SweepConfig) -> None:
    if config.training.needs_validation and not prepared.validation:
        raise ValueError(
            f"rows={config.rows}: no image with a label in the val split, which training.patience and "
            "training.keep=best need; ingest with fractions.val above 0, or leave both out"
        )


def _say(prepared: Prepared, sources: Sequence[Source]) -> None:
    for source in sources:
        if source.unknown:
            print(f"      warning: what the generator of {source.name} saw is unknown, test images may be among it",
                  flush=True)  # fmt: skip
    for name, shown in prepared.tested.items():
        if shown["all"]:
            print(f"      synthetic {name}: {shown['all']} images show test images and are left out "
                  f"({in_words(shown)})", flush=True)  # fmt: skip
    for name, told in prepared.tests.items():
        for source, seen in told.get("seen_by_generator", {}).items():
            if seen:
                print(f"      WARNING: the generator of {source} saw {seen} of the {told['images']} images of test set "
                      f"{name}, or of their patients", flush=True)  # fmt: skip
        if removed := told["removed"]["all"]:
            print(f"      test set {name}: {removed} of {removed + told['images']} images are shared with training and "
                  f"left out ({in_words(told['removed'])})", flush=True)  # fmt: skip


def _shared(config: SweepConfig, prepared: Prepared, inputs: dict[str, Result]) -> dict[str, Any]:
    """What all trials depend on."""
    # With several workers each normalises its own part of a batch: other numbers than one worker's.
    several = {"workers": config.workers_per_trial} if config.workers_per_trial > 1 else {}
    decided = {"threshold": config.threshold} if config.threshold != "youden" else {}
    return (
        several
        | decided
        | {
            "rows": inputs["rows"].manifest.key,
            "target": [prepared.target.column, *prepared.target.classes],
            "tests": [[decisive(given), inputs[f"test_sets.{given.name}"].manifest.key] for given in config.test_sets],
            "training": decisive(config.training),
            "images": [config.balanced, config.max_test_images, config.max_validation_images],
            "seed": config.seed,
        }
    )


def _grid(config: SweepConfig, shared: dict[str, Any], sources: Sequence[Source], models: Models) -> list[Trial]:
    keys = {source.name: source.result.manifest.key for source in sources}
    return grid(config.all_arms, config.backbones, config.real_counts, config.seeds, shared, keys, models)


def _served(trials: list[Trial]) -> Trial:
    """The classifier to serve: first backbone, first seed, most real images. Chosen before it was tested."""
    first = [t for t in trials if t.seed == 0 and t.backbone == trials[0].backbone]
    return max(first, key=lambda trial: (trial.arm.real * trial.real_images, trial.arm.control))


def _store(work: Work, config: SweepConfig) -> str:
    return config.pixels or storage.join(work.data, PIXELS)


def _train(
    trials: list[Trial],
    prepared: Prepared,
    models: Models,
    kept: set[str],
    work: Work,
    config: SweepConfig,
) -> None:
    """All that is not finished."""
    from ray import tune

    from dermray.classification.pixel_store import fill

    place, store = storage.join(work.data, TRIALS), _store(work, config)
    if {trial.key for trial in trials} - trial_files.finished(place, kept):
        for size in sorted({model["size"] for model in models.values()}):
            fill(store, size, prepared.images)
    settings = TrialSettings(
        arms={arm.name: arm for arm in config.all_arms},
        backbones={backbone.name: backbone for backbone in config.backbones},
        sizes={name: model["size"] for name, model in models.items()},
        training=config.training,
        threshold=config.threshold,
        target=prepared.target,
        balanced=config.balanced,
        first_seed=config.first_seed,
        pools=prepared.pools,
        pixels=store,
        trials=place,
        kept=frozenset(kept),
        workers=config.workers_per_trial,
        cpus=config.tune.cpus_per_trial,
        gpus=config.tune.gpus_per_trial,
    )
    several = config.workers_per_trial > 1
    complete(trials, work.data, tune.with_parameters(trial, settings=settings), config.tune, kept, apart=several)


def _finish(
    trials: list[Trial], others: list[Baseline], prepared: Prepared, models: Models, work: Work, config: SweepConfig
) -> Result:
    """What the trials say, and the classifier to serve."""
    from dermray.classification.conclusions import conclude

    place = storage.join(work.data, TRIALS)
    with watched(busy("comparing arms")):
        told = conclude(trials, others, prepared, work, place, config)
    storage.copy_directory(trial_files.model_of(place, _served(trials).key), storage.join(work.data, "model"))
    shown = sum(each["all"] for each in prepared.tested.values())
    lost = {"shared with training": prepared.removed, "synthetic, shows a test image": shown}
    lost |= {"label unknown": prepared.unlabelled}
    counts = Rows(
        rows_in=prepared.used + sum(lost.values()),
        ok=prepared.used,
        rejected=sum(lost.values()),
        failed=0,
        reasons={f"rejected: {reason}": number for reason, number in lost.items() if number},
    )
    at_once, tests = config.tune.concurrent * config.workers_per_trial, prepared.tests
    sizes = {name: model["size"] for name, model in models.items()}
    return work.commit(
        counts,
        counts.rows_in,
        temporary=[f"{PIXELS}/"],
        cpus=at_once * config.tune.cpus_per_trial,
        gpus=at_once * config.tune.gpus_per_trial,
        classes=list(prepared.target.classes),
        tests=tests,
        sources_tested=prepared.tested,
        image_size=sizes,
        sources_unknown=[source.name for source in config.sources if source.trained_on == UNKNOWN],
        **told,
    )
