"""Where the captioner's weights are, and by what name and revision rows remember it."""

from dataclasses import dataclass, field, replace
from typing import Any

from dermray import manifest, storage, weights
from dermray.captioning import adapters
from dermray.captioning.settings import VllmConfig
from dermray.manifest import Result

STAGES = ("captioner", "tune-vlm")  # whose results can be asked


@dataclass(frozen=True)
class Captioner:
    """A model to ask."""

    model: str  # what engines on any node are given: directory, s3:// URI, hub id, or a remote model's name
    name: str  # what rows remember
    revision: str | None
    inputs: dict[str, Result] = field(default_factory=dict)  # its manifest, if one of our stages made it
    settings: dict[str, Any] = field(default_factory=dict)  # of VllmConfig: what was resolved, for all engines


def find(uri: str, revision: str | None) -> Captioner:
    """A result of the captioner or the tune-vlm stage, a model directory (local or in S3), or a hub id.

    Raises:
        FileNotFoundError: none of these. ValueError: a result that holds no captioner, or one that vLLM cannot host.
    """
    made = storage.normalise(uri)
    if storage.exists(storage.join(made, "manifest.json")):
        return _made(manifest.read(made))
    model = weights.everywhere(uri, "captioner")
    resolved = weights.revision_of(model, revision)
    return Captioner(model, model, resolved, settings={"revision": resolved})


def _made(result: Result) -> Captioner:
    stage = result.manifest.stage
    if stage not in STAGES:
        expected = " or ".join(map(repr, STAGES))
        raise ValueError(f"captioner={result.uri}: result of stage {stage!r}, expected one of {expected}")
    model, merged = (storage.join(result.data, part) for part in ("model", "merged"))
    if storage.exists(storage.join(merged, "config.json")):
        return _whole(result, merged)
    if storage.exists(storage.join(model, adapters.CONFIG)):
        return _with_adapter(result, model)
    return _whole(result, model)


def _whole(result: Result, model: str) -> Captioner:
    """Weights of a model that needs no other."""
    place = hosted(model)
    revision = weights.fingerprint(place)
    return Captioner(place, result.manifest.key, revision, {"captioner": result}, {"revision": revision})


def hosted(model: str) -> str:
    """What of a model directory vLLM reads: `vllm/` in it, where there is one, in which weights have vLLM's names."""
    for_vllm = storage.join(model, "vllm")
    return for_vllm if not weights.on_hub(model) and storage.exists(storage.join(for_vllm, "config.json")) else model


def _with_adapter(result: Result, place: str) -> Captioner:
    """An adapter that vLLM serves beside its base."""
    field = f"captioner={result.uri}"
    adapter = adapters.read(place, field)
    merge = f"merge it once, dermray export {result.uri} DIRECTORY --format merged, and give captioner=DIRECTORY"
    if adapter.base is None:
        raise ValueError(f"{field}: its adapter_config.json names no base model")
    try:
        base = base_of(adapter)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{field}: an adapter of {adapter.base}, which is no longer there; put it back, or {merge} where it is"
        ) from None
    _require_unchanged(result, adapter.base, field)
    resolved = weights.revision_of(base, adapter.settings.get("revision"))
    small = weights.locate_small(base, "captioner")
    reason = adapters.unserved(adapter, str(adapters.config_of(small, resolved).get("model_type")))
    if reason:
        raise ValueError(f"{field}: {reason}; {merge}")
    tuned = weights.fingerprint(place)
    settings = {"revision": resolved, "lora": place, "lora_revision": tuned, "lora_rank": adapters.room(adapter.rank)}
    return Captioner(base, result.manifest.key, f"{resolved}+{tuned}", {"captioner": result}, settings)


def _require_unchanged(result: Result, base: str, field: str) -> None:
    """Refuse another model that lies where the base was."""
    then = result.manifest.metrics.get("base_revision")
    if (
        then
        and not weights.is_commit(then)
        and (now := weights.revision_of(weights.everywhere(base, field), None)) != then
    ):
        raise ValueError(
            f"{field}: an adapter of another base than {base} is now: its files have changed (fingerprint {then} when "
            f"it was tuned, {now} now); put the old ones back"
        )


def base_of(adapter: adapters.Adapter) -> str:
    """Where the base of an adapter is, for vLLM: a directory, s3:// URI or hub id.

    Raises:
        FileNotFoundError: it is gone.
    """
    assert adapter.base is not None
    return hosted(weights.everywhere(adapter.base, "its base"))


def adapted(captioner: Captioner, lora: str, revision: str | None) -> Captioner:
    """The same model with a LoRA adapter, which rows remember too.

    Raises:
        FileNotFoundError: the adapter is neither a directory (local or in S3) nor a hub id. ValueError: the captioner
            has one already.
    """
    if captioner.settings.get("lora"):
        raise ValueError(f"engine.lora={lora}: the captioner is tuned, and has an adapter; leave engine.lora out")
    made = storage.normalise(lora)
    if storage.exists(storage.join(made, "manifest.json")):
        lora = storage.join(manifest.read(made, "tune-vlm").data, "model")
    place = weights.everywhere(lora, "engine.lora")
    resolved = weights.revision_of(place, revision)
    return replace(
        captioner,
        name=f"{captioner.name} + {place}",
        revision=f"{captioner.revision}+{resolved}",
        settings=captioner.settings | {"lora": place, "lora_revision": resolved},
    )


def chosen(uri: str, engine: VllmConfig) -> Captioner:
    """The captioner of a config, with the adapter of its engine, if that names one.

    Raises:
        FileNotFoundError, ValueError: as `find` and `adapted` do; the adapter is another base's, or vLLM would not
            serve it whole.
    """
    found = find(uri, engine.revision)
    if engine.lora is not None:
        found = adapted(found, engine.lora, engine.lora_revision)
    if found.settings.get("lora"):
        _require_adapter_of(found, engine.model_copy(update=found.settings))
    return found


def _require_adapter_of(captioner: Captioner, engine: VllmConfig) -> None:
    """Refuse an adapter that is another base's, or that vLLM would serve in part.

    Args:
        engine: with what was resolved.
    """
    assert engine.lora is not None
    adapter = adapters.read(engine.lora, "engine.lora", engine.lora_revision)
    config = adapters.config_of(weights.locate_small(captioner.model, "captioner"), engine.revision)
    adapters.require_base(adapter, captioner.model, adapters.sizes_of(config), "engine.lora")
    if config.get("model_type") in adapters.SERVED and (reason := adapters.unserved(adapter, config["model_type"])):
        raise ValueError(f"engine.lora={adapter.uri}: {reason}; merge it into its base, and give that as the captioner")
    if adapter.rank > engine.lora_rank:
        raise ValueError(f"engine.lora_rank={engine.lora_rank}: the adapter's is {adapter.rank}; give as much")
