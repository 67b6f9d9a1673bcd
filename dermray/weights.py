"""Where a model's weights are: a directory or file, here or in S3, or a hub id. Config decides what is downloaded.

A URI and a revision say the same on every node; a path into a node's cache does not. So these two travel to workers,
and each of them asks for the path where it loads: see `locate`.
"""

import hashlib
import re
from pathlib import PurePosixPath

from dermray import node_cache, storage

HUB_SECONDS = 5  # for the hub's answer
WHOLE = 1 << 20  # files up to 1 MiB count whole, larger ones by their size, first and last MiB
COMMIT = re.compile("[0-9a-f]{40}")
FINGERPRINT = re.compile("[0-9a-f]{12}")  # a hub's commit has 40 digits
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
PATHS = (".", "/", "runs/", "weights/", "data/")  # how paths begin; the last three are where presets have them
COUNTER = "num_batches_tracked"  # of batch normalisation; older files have none, and nothing depends on it
TENSORS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".msgpack", ".h5", ".onnx")


def everywhere(uri: str, field: str) -> str:
    """The same weights as every node may call them: an absolute path, an s3:// URI, or a hub id.

    Raises:
        FileNotFoundError: neither a directory here or in S3, nor of the form of a hub id; `field` is config's name.
    """
    if storage.is_s3(uri) or storage.exists(storage.normalise(uri)):
        return storage.normalise(uri)
    if is_hub_id(uri):
        return uri
    kind = "file" if is_single_file(uri) else "directory"
    raise FileNotFoundError(f"{field}={uri}: no such {kind}; give a model directory, an s3:// URI or a hub id")


def locate(uri: str, field: str, revision: str | None = None) -> str:
    """A path on this node, or the hub id itself, whose loader is given the revision.

    Args:
        revision: what `revision_of` gave: a directory with that fingerprint is expected. A hub's commit says nothing
            of a directory.

    Raises:
        FileNotFoundError: see `everywhere`. ValueError: other weights lie there now.
    """
    place = everywhere(uri, field)
    if on_hub(place):
        return place
    path = str(node_cache.local_file(place) if is_single_file(place) else node_cache.local_copy(place))
    if revision and FINGERPRINT.fullmatch(revision) and (here := fingerprint(path)) != revision:
        raise ValueError(
            f"{field}={uri}: its files have changed (fingerprint {here} now, {revision} when this work began); put the "
            "old ones back, or begin new work with the new ones"
        )
    return path


def locate_adapter(uri: str, field: str, revision: str | None = None) -> str:
    """As `locate`, for a LoRA adapter, whose loaders want a path also where it comes from the hub."""
    place = locate(uri, field, revision)
    if not on_hub(place):
        return place
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        return str(snapshot_download(place, revision=revision))
    except (OfflineModeIsEnabled, httpx.TransportError):  # it lists a commit's files anew, also where all are here
        return str(snapshot_download(place, revision=revision, local_files_only=True))


def locate_small(uri: str, field: str) -> str:
    """As `locate`, without tensors: config, tokenizer, templates. The driver of a cluster needs no more."""
    place = everywhere(uri, field)
    return place if on_hub(place) else str(node_cache.local_copy(place, lambda name: not name.endswith(TENSORS)))


def is_single_file(uri: str) -> bool:
    """Whether `uri` names a file with all weights of a model, not a directory or hub id."""
    return uri.endswith(SINGLE_FILES)


def is_hub_id(uri: str) -> bool:
    """Whether `uri` has the form of a hub id, such as llava-hf/llava-1.5-7b-hf, and none of a path in presets."""
    return uri.count("/") == 1 and not is_single_file(uri) and not uri.startswith(PATHS) and ":" not in uri


def may_change(uri: str) -> bool:
    """Whether `uri` is a hub id, behind which somebody else may put other files, and not a directory here."""
    return is_hub_id(uri) and not storage.exists(storage.normalise(uri))


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a hub's commit, not a branch or tag."""
    return revision is not None and COMMIT.fullmatch(revision) is not None


def on_hub(place: str) -> bool:
    """Whether what `everywhere` gave is a hub id, whose revision is a commit and not a fingerprint."""
    return not storage.is_s3(place) and not place.startswith("/")


def hub_commit(name: str, revision: str | None) -> str | None:
    """The commit that a hub id means now; where the hub cannot be asked, that of this machine's copy, if it has one.

    It is asked once: loaders ask again for half a minute before they say that nobody answers.

    Raises:
        FileNotFoundError: the hub has no such model, or is out of reach, and there is no copy here.
    """
    import httpx
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        commit: str | None = HfApi().model_info(name, revision=revision, timeout=HUB_SECONDS).sha
        return commit
    except RepositoryNotFoundError:
        raise FileNotFoundError(f"{name}: neither a directory here nor a model on the hub") from None
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, httpx.TransportError) as error:
        try:
            return PurePosixPath(snapshot_download(name, revision=revision, local_files_only=True)).name
        except LocalEntryNotFoundError:
            if isinstance(error, HfHubHTTPError):  # it is there, and may be better when it is asked for the files
                return revision
            raise FileNotFoundError(
                f"{name}: the hub, {constants.ENDPOINT}, is out of reach ({error}), and this machine has no copy; give "
                "a directory or an s3:// URI instead"
            ) from None


def fingerprint(place: str) -> str:
    """Twelve hex digits of a model directory's files, or of one file: names, sizes and content. The same for a copy in
    S3, of which two MiB a file are read.

    Raises:
        FileNotFoundError: no file is there.
    """
    system, root = storage.filesystem(place)
    if is_single_file(place) and storage.exists(place):
        root, _, name = root.rpartition("/")
        files = [name]
    else:
        files = [file.removeprefix("s3://").removeprefix(f"{root}/") for file in storage.list_files(place)]
    if not files:
        raise FileNotFoundError(f"{place}: no such directory, or nothing in it")
    digest = hashlib.sha256()
    for name in sorted(files, key=PurePosixPath):
        with system.open_input_file(f"{root}/{name}") as file:
            size = file.size()
            digest.update(f"{name} {size}\n".encode())
            digest.update(file.read_at(WHOLE, 0))
            if size > WHOLE:
                start = max(WHOLE, size - WHOLE)
                digest.update(file.read_at(size - start, start))
    return digest.hexdigest()[:12]


def revision_of(uri: str, revision: str | None) -> str | None:
    """What tells these weights from others under the same name: a hub commit, or a fingerprint of the files.

    Args:
        uri: as `everywhere` gives it. revision: of a hub id, what config asks for.
    """
    return hub_commit(uri, revision) if on_hub(uri) else fingerprint(uri)
