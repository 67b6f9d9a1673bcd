"""Where the captioner's weights are, and by what name and revision rows remember it."""

from dataclasses import dataclass, field, replace

from dermray import manifest, storage, weights
from dermray.manifest import Result


@dataclass(frozen=True)
class Captioner:
    """A model to ask."""

    model: str  # what engines on any node are given: directory, s3:// URI, hub id, or a remote model's name
    name: str  # what rows remember
    revision: str | None
    inputs: dict[str, Result] = field(default_factory=dict)  # its manifest, if one of our stages made it
    settings: dict[str, str | None] = field(default_factory=dict)  # of VllmConfig: what was resolved, for all engines


def find(uri: str, revision: str | None) -> Captioner:
    """A result of the captioner stage, a model directory (local or in S3), or a hub id.

    Raises:
        FileNotFoundError: none of these.
    """
    made = storage.normalise(uri)
    if storage.exists(storage.join(made, "manifest.json")):
        trained = manifest.read(made, "captioner")
        model, name, inputs = storage.join(trained.data, "model", "vllm"), trained.manifest.key, {"captioner": trained}
    else:
        model = name = weights.everywhere(uri, "captioner")
        inputs = {}
    resolved = weights.revision_of(model, revision)
    return Captioner(model, name, resolved, inputs, {"revision": resolved})


def adapted(captioner: Captioner, lora: str, revision: str | None) -> Captioner:
    """The same model with a LoRA adapter, which rows remember too.

    Raises:
        FileNotFoundError: the adapter is neither a directory (local or in S3) nor a hub id.
    """
    adapter = find(lora, revision)
    return replace(
        captioner,
        name=f"{captioner.name} + {adapter.name}",
        revision=f"{captioner.revision}+{adapter.revision}",
        settings=captioner.settings | {"lora": adapter.model, "lora_revision": adapter.revision},
    )
