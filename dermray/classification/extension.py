"""A sweep that goes on from an earlier one: more seeds, ratios, backbones or real counts. Only what is new is run."""

from dermray import manifest, storage
from dermray.classification import trial_files
from dermray.classification.sweep_settings import SweepConfig
from dermray.classification.tuning import TRIALS
from dermray.config import ConfigError, decisive, validate
from dermray.manifest import Result, Work

# What may differ in a larger sweep, and where things lie.
FREE = {
    "output", "rows", "seeds", "arms", "backbones", "real_images", "synthetic", "resamples", "keep_models", "zero_shot",
}  # fmt: skip


def extended(config: SweepConfig, work: Work) -> Result:
    """The earlier sweep that `config.extend` names, whose trials may be part of this one.

    Raises:
        FileNotFoundError: no finished sweep there. ValueError: of other data or settings, so that no trial is the same.
    """
    assert config.extend
    found = manifest.read(config.extend, "sweep")
    then, now = found.manifest.inputs, work.inputs
    changed = [name for name in then.keys() & now.keys() if then[name] != now[name]]
    changed += [name for name in then.keys() ^ now.keys() if name.startswith("test_sets.")]
    if changed:
        raise ValueError(
            f"extend={config.extend}: the data changed since ({', '.join(sorted(changed))}), so none of its trials can "
            "stand beside new ones; give the data that it was made of, or sweep anew without extend"
        )
    old, new = decisive(_config(found)), decisive(config)
    told = [f"{n}: {old[n]!r} then, {new[n]!r} now" for n in sorted(old.keys() - FREE) if old[n] != new[n]]
    if told:
        raise ValueError(
            f"extend={config.extend}: its trials were made with other settings ({'; '.join(told)}); give those, or "
            "sweep anew without extend"
        )
    return found


def _config(sweep: Result) -> SweepConfig:
    """Its config, with nothing in the place of what its manifest has among the inputs."""
    try:
        return validate(SweepConfig, dict.fromkeys(("output", "rows", "synthetic"), "-") | sweep.manifest.config)
    except ConfigError as error:
        raise ValueError(
            f"extend={sweep.uri}: made by another version of dermray, with other settings ({error}); sweep anew"
        ) from None


def take_over(earlier: Result, work: Work, keys: list[str], with_model: set[str]) -> None:
    """Finished trials of the earlier sweep, if they are this one's too. Says how many."""
    there, here = (storage.join(place, TRIALS) for place in (earlier.data, work.data))
    taken = trial_files.take_over(there, here, keys, with_model)
    print(f"      {taken} of {len(keys)} trials are taken from {earlier.uri}", flush=True)
