"""Where a model's weights are: a directory, an s3:// URI, or a hub id. Nothing is downloaded unless config says so."""

import hashlib
from pathlib import Path

from dermray import storage

WHOLE = 1 << 20  # files up to 1 MiB count whole, larger ones by their size, first and last MiB


def locate(uri: str, field: str) -> str:
    """A local path, or the hub id itself; `field` is the config's name for it in an error.

    Raises:
        FileNotFoundError: neither a directory here or in S3, nor of the form of a hub id.
    """
    if not storage.is_s3(uri) and not storage.exists(storage.normalise(uri)):
        if is_hub_id(uri):
            return uri
        raise FileNotFoundError(f"{field}={uri}: no such directory; give a model directory, an s3:// URI or a hub id")
    return str(storage.local_copy(storage.normalise(uri), storage.cache()))


def is_hub_id(uri: str) -> bool:
    """Whether `uri` has the form of a hub id, such as llava-hf/llava-1.5-7b-hf."""
    return uri.count("/") == 1 and not uri.startswith((".", "/", "runs/")) and ":" not in uri


def hub_commit(name: str, revision: str | None) -> str | None:
    """The commit that a hub id means now; where the hub cannot be asked, the revision given.

    Raises:
        FileNotFoundError: the hub has no such model.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        found: str | None = HfApi().model_info(name, revision=revision, timeout=10).sha
        return found
    except RepositoryNotFoundError:
        raise FileNotFoundError(f"{name}: neither a directory here nor a model on the hub") from None
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


def revision_of(uri: str, located: str, revision: str | None) -> str | None:
    """What tells these weights from others under the same name: a hub commit, or a fingerprint of the files."""
    return hub_commit(uri, revision) if located == uri and is_hub_id(uri) else fingerprint(Path(located))
