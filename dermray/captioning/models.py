"""Where the captioner's weights are, and by what name and revision rows remember it."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from dermray import manifest, storage, weights
from dermray.manifest import Result


@dataclass(frozen=True)
class Captioner:
    """A model to ask."""

    model: str  # what the engine is given: directory, hub id, or a remote model's name
    name: str  # what rows remember
    revision: str | None
    inputs: dict[str, Result] = field(default_factory=dict)  # its manifest, if one of our stages made it


def find(uri: str, revision: str | None) -> Captioner:
    """A result of the captioner stage, a model directory (local or in S3), or a hub id.

    Raises:
        FileNotFoundError: none of these.
    """
    made = storage.normalise(uri)
    if storage.exists(storage.join(made, "manifest.json")):
        trained = manifest.read(made, "captioner")
        model = weights.locate(storage.join(trained.data, "model", "vllm"), "captioner")
        return Captioner(model, trained.manifest.key, weights.fingerprint(Path(model)), {"captioner": trained})
    model = weights.locate(uri, "captioner")
    return Captioner(model, uri if model == uri else made, weights.revision_of(uri, model, revision))


def adapted(captioner: Captioner, lora: str) -> Captioner:
    """The same model with a LoRA adapter, which rows remember too.

    Raises:
        FileNotFoundError: the adapter is neither a directory here nor a hub id.
    """
    adapter = find(lora, None)
    revision = f"{captioner.revision}+{adapter.revision}"
    return replace(captioner, name=f"{captioner.name} + {adapter.name}", revision=revision)
