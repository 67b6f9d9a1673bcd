"""Where an extractor's weights are, on every node alike, and what tells them from others in the same place."""

from dermray import manifest, storage, weights
from dermray.backbones import pretrained
from dermray.features.settings import ExtractorConfig

FIELD = "weights"
MODEL = "model"  # of a classifier's result


def settled(config: ExtractorConfig) -> ExtractorConfig:
    """With an absolute place, and in `revision` the hub's commit or the files' fingerprint."""
    given = str(config.weights)
    place = manifest.read(given).uri if config.kind == "classifier" else pretrained.place_of(given, FIELD)
    return config.model_copy(update={"weights": place, "revision": _revision(config)})


def require_unchanged(config: ExtractorConfig) -> None:
    """Refuse other files than those whose fingerprint the config has.

    Raises:
        ValueError: there are other ones, or the revision is of a hub id and the weights are not.
    """
    expected = config.revision
    if expected is None or _on_hub(config):
        return
    if not weights.FINGERPRINT.fullmatch(expected):
        raise ValueError(
            f"revision={expected}: only a hub id has revisions, and {config.weights} is none; leave it out, or give "
            "the twelve digits of the files' fingerprint"
        )
    if (here := _revision(config)) != expected:
        raise ValueError(
            f"{FIELD}={config.weights}: fingerprint {here}, expected {expected}: other files, or files that have "
            "changed since this work began; put the old ones back, or begin new work with these"
        )


def _on_hub(config: ExtractorConfig) -> bool:
    return config.kind not in ("classifier", "inception") and pretrained.hub_id(str(config.weights), FIELD) is not None


def _revision(config: ExtractorConfig) -> str | None:
    given = str(config.weights)
    if config.kind == "classifier":
        return weights.fingerprint(storage.join(manifest.read(given).data, MODEL))
    if hub_id := pretrained.hub_id(given, FIELD):
        return weights.hub_commit(hub_id, config.revision)
    place = pretrained.place_of(given, FIELD)
    if place == pretrained.TIMM:
        return None  # as timm's version has it
    return weights.fingerprint(
        str(pretrained.in_package(place, FIELD)) if place.startswith(pretrained.PACKAGE) else place
    )
