"""Where the captioner's weights are, and by what name and revision rows remember it."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from dermray import manifest, storage
from dermray.manifest import Result

WHOLE = 1 << 20  # files up to 1 MiB count whole, larger ones by their size, first and last MiB


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
    if not storage.is_s3(uri) and not storage.exists(storage.normalise(uri)):
        if uri.count("/") == 1 and not uri.startswith((".", "/")) and not uri.startswith("runs/"):
            return Captioner(uri, uri, hub_commit(uri, revision))  # such as llava-hf/llava-1.5-7b-hf
        raise FileNotFoundError(
            f"captioner={uri}: no such directory; give a captioner's result, a model directory or a hub id"
        )
    uri = storage.normalise(uri)
    if storage.exists(storage.join(uri, "manifest.json")):
        made = manifest.read(uri, "captioner")
        model = storage.local_copy(storage.join(made.data, "model", "vllm"), storage.cache())
        return Captioner(str(model), made.manifest.key, fingerprint(model), {"captioner": made})
    model = storage.local_copy(uri, storage.cache())
    return Captioner(str(model), uri, fingerprint(model))


def adapted(captioner: Captioner, lora: str) -> Captioner:
    """The same model with a LoRA adapter, which rows remember too.

    Raises:
        FileNotFoundError: the adapter is neither a directory here nor a hub id.
    """
    adapter = find(lora, None)
    revision = f"{captioner.revision}+{adapter.revision}"
    return replace(captioner, name=f"{captioner.name} + {adapter.name}", revision=revision)


def hub_commit(name: str, revision: str | None) -> str | None:
    """The commit that a hub id means now; where the hub cannot be asked, the revision given."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        found: str | None = HfApi().model_info(name, revision=revision, timeout=10).sha
        return found
    except RepositoryNotFoundError:
        raise FileNotFoundError(f"captioner={name}: neither a directory here nor a model on the hub") from None
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError):
        return revision


def fingerprint(directory: Path) -> str:
    """Twelve hex digits of a model directory's files: names, sizes and content."""
    digest = hashlib.sha256()
    for file in sorted(p for p in directory.rglob("*") if p.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(directory)} {size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(WHOLE))
            if size > WHOLE:
                stream.seek(max(WHOLE, size - WHOLE))
                digest.update(stream.read(WHOLE))
    return digest.hexdigest()[:12]
