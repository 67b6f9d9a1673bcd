"""Files by URI, on local disk and in S3: the same few verbs, and two that decide races.

Paths without a scheme are local. Settings of S3 come from the environment, then from ~/.aws, as boto3 reads them:
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL,
AWS_CA_BUNDLE; the region is AWS_REGION, AWS_DEFAULT_REGION or the profile's.
"""

import contextlib
import functools
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyarrow import fs


class OutputTaken(RuntimeError):
    """Another writer owns this output, or finished it first."""


def is_s3(uri: str) -> bool:
    """Whether `uri` names an S3 object."""
    return uri.startswith("s3://")


def normalise(uri: str | Path) -> str:
    """Absolute path or s3:// URI without a trailing slash: workers have other working directories."""
    text = str(uri)
    if is_s3(text):
        return text.rstrip("/")
    if "://" in text:
        raise ValueError(f"{text}: expected a local path or an s3:// URI")
    return str(Path(text).expanduser().resolve())


def join(uri: str, *parts: str) -> str:
    """`uri` with parts appended."""
    return "/".join([uri.rstrip("/"), *parts])


def filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    """pyarrow's file system for `uri` and the path inside it.

    Raises:
        ValueError: an S3 URI, and the settings for S3 cannot be used: see `_s3_clients`.
    """
    if not is_s3(uri):
        return fs.LocalFileSystem(), str(uri)
    return _s3_clients(uri)[1], uri.removeprefix("s3://")


def _s3(uri: str) -> tuple[Any, str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return _s3_clients(uri)[0], bucket, key


def _s3_clients(uri: str) -> tuple[Any, fs.S3FileSystem]:
    """botocore's client, for what needs conditions, and pyarrow's file system, for all else.

    Raises:
        ValueError: no credentials, an unknown profile, or an endpoint that is no address of a server.
    """
    from botocore.exceptions import BotoCoreError

    files = (
        os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
    )
    # Reading the settings takes 80 ms, so it is done anew only where they changed, or in a forked process.
    state = [
        (k, v) for k, v in sorted(os.environ.items()) if k.startswith("AWS_") or k in ("HOME", "REQUESTS_CA_BUNDLE")
    ]
    state += [(file, _modified(file)) for file in files]
    try:
        return _connected(os.getpid(), tuple(sorted(state)))
    except (BotoCoreError, ValueError) as error:
        raise ValueError(f"{uri}: {error}") from None


def _modified(file: str) -> str:
    path = Path(file).expanduser()
    return str(path.stat().st_mtime_ns) if path.is_file() else ""


@functools.lru_cache(maxsize=4)
def _connected(*_state: Any) -> tuple[Any, fs.S3FileSystem]:
    """Settings are read once, by botocore, and pyarrow is told what it read: by themselves they differ in the
    variables, files and profiles that they look at."""
    from botocore.session import get_session

    session = get_session()
    credentials = session.get_credentials()
    if credentials is None:
        raise ValueError("no S3 credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    # botocore itself does not know AWS_REGION, which AWS's other tools prefer
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or "us-east-1"
    try:
        client = session.create_client("s3", region_name=region)
    except ValueError as error:  # "Invalid endpoint: host:9000"
        raise ValueError(f"{error}; AWS_ENDPOINT_URL must be a server's address such as http://host:9000") from None
    options = {
        "region": region,
        "allow_bucket_creation": False,
        "allow_delayed_open": True,  # a small file is one request, not three
        **_endpoint(client),
        **_keys(credentials),
    }
    if authorities := session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE"):
        options["tls_ca_file_path"] = authorities
    return client, fs.S3FileSystem(**options)


def _endpoint(client: Any) -> dict[str, Any]:
    """The server and the way of addressing it, as pyarrow wants them; nothing for Amazon's own."""
    url, region = client.meta.endpoint_url, client.meta.region_name
    if url in ("https://s3.amazonaws.com", f"https://s3.{region}.amazonaws.com"):
        return {}
    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query or parts.scheme not in ("http", "https"):
        raise ValueError(
            f"S3 endpoint {url}: expected scheme and host alone, such as {parts.scheme}://{parts.netloc}; "
            "a bucket belongs into the s3:// URI"
        )
    style = (client.meta.config.s3 or {}).get("addressing_style")
    return {
        "endpoint_override": parts.netloc,
        "scheme": parts.scheme,
        "force_virtual_addressing": style == "virtual",
    }


def _keys(credentials: Any) -> dict[str, str | None]:
    """The keys for pyarrow, where it would not find them by itself. Else it renews them as they expire, and the file
    systems that travel to workers hold no secret."""
    own = ("env", "shared-credentials-file", "iam-role", "container-role", "assume-role-with-web-identity", "sso")
    if credentials.method in (*own, "custom-process"):
        return {}
    keys = credentials.get_frozen_credentials()
    return {"access_key": keys.access_key, "secret_key": keys.secret_key, "session_token": keys.token}


def exists(uri: str) -> bool:
    """Whether a file or directory is there."""
    system, path = filesystem(uri)
    return bool(system.get_file_info(path).type != fs.FileType.NotFound)


def read_bytes(uri: str) -> bytes:
    """The file's bytes.

    Raises:
        FileNotFoundError: with the URI.
    """
    system, path = filesystem(uri)
    with system.open_input_stream(path, compression=None) as stream:
        return bytes(stream.read())


def write_bytes(uri: str, data: bytes) -> None:
    """Write or replace a file in one step: a reader sees the old bytes or the new ones."""
    system, path = filesystem(uri)
    if is_s3(uri):
        with system.open_output_stream(path) as stream:
            stream.write(data)
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    partial = f"{path}.{uuid.uuid4().hex}.partial"
    try:
        Path(partial).write_bytes(data)
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def create(uri: str, data: bytes) -> None:
    """Write a file that must not be there yet. Of concurrent callers exactly one succeeds.

    Raises:
        OutputTaken: it is there.
    """
    if is_s3(uri):
        client, bucket, key = _s3(uri)
        try:
            client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise OutputTaken(f"{uri}: another writer was first") from None
            raise
        return
    path = Path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        partial.write_bytes(data)
        os.link(partial, path)  # fails where the name exists: rename would replace it
    except FileExistsError:
        raise OutputTaken(f"{uri}: another writer was first") from None
    finally:
        partial.unlink(missing_ok=True)


def delete_tree(uri: str) -> None:
    """Remove a directory and all in it, or nothing if it is not there."""
    if exists(uri):
        system, path = filesystem(uri)
        system.delete_dir(path)


def delete_file(uri: str) -> None:
    """Remove a file, or nothing if it is not there."""
    if exists(uri):
        system, path = filesystem(uri)
        system.delete_file(path)


def make_directory(uri: str) -> None:
    """Create a local directory; S3 needs none.

    Raises:
        OSError: it cannot be written to.
    """
    if is_s3(uri):
        return
    try:
        Path(uri).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{uri}: cannot create this directory ({error.strerror}); choose another output") from None
    if not os.access(uri, os.W_OK):
        raise OSError(f"{uri}: not writable; choose another output")


def list_files(uri: str, suffix: str = "") -> list[str]:
    """URIs of the files below `uri`, sorted."""
    system, path = filesystem(uri)
    found = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    scheme = "s3://" if is_s3(uri) else ""
    return sorted(scheme + f.path for f in found if f.type == fs.FileType.File and f.path.endswith(suffix))


def s3_objects(uri: str) -> Iterator[tuple[str, int]]:
    """Key below `uri` and bytes of each object, page by page: however many there are, a thousand are held."""
    client, bucket, key = _s3(uri)
    prefix = f"{key}/" if key else ""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for listed in page.get("Contents", ()):
            yield listed["Key"].removeprefix(prefix), listed["Size"]


def list_directories(uri: str) -> list[str]:
    """Names of the directories right below `uri`, sorted."""
    system, path = filesystem(uri)
    entries = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    return sorted(entry.base_name for entry in entries if entry.type == fs.FileType.Directory)


def last_written(uri: str) -> float:
    """Unix seconds of the newest file below `uri` by its store's clock; 0 where there is none."""
    system, path = filesystem(uri)
    entries = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    return max((entry.mtime_ns / 1e9 for entry in entries if entry.type == fs.FileType.File), default=0.0)


def duplicate(source: str, target: str) -> None:
    """All files below `source` at `target` in the same store, without their bytes passing through here: links on a
    disk, copies by S3 itself. Files that change afterwards must be replaced, not written into."""
    if is_s3(source):
        _copy_in_s3(source, target)
    else:
        shutil.copytree(source, target, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without links
        shutil.copy2(source, target)


@dataclass(frozen=True, order=True)
class Stored:
    """An S3 object: its name below a directory, bytes, and the ETag that changes with its content."""

    name: str
    size: int
    etag: str


def objects(uri: str) -> list[Stored]:
    """All S3 objects below `uri`: one request for each thousand.

    Raises:
        ValueError: a name that would lead out of a directory.
    """
    client, bucket, key = _s3(uri)
    prefix = _below(key, "")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    listed = [entry for page in pages for entry in page.get("Contents", ()) if not entry["Key"].endswith("/")]
    below = [Stored(entry["Key"].removeprefix(prefix), entry["Size"], entry["ETag"]) for entry in listed]
    for stored in below:
        if {"", ".", ".."} & set(stored.name.split("/")):
            raise ValueError(f"{uri}: holds {stored.name!r}, which is no path below a directory; rename it")
    return below


def _below(key: str, name: str) -> str:
    return f"{key}/{name}" if key else name


def stored(uri: str) -> Stored:
    """The S3 object at `uri`, by its last name.

    Raises:
        FileNotFoundError: none is there.
    """
    client, bucket, key = _s3(uri)
    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NoSuchBucket"):
            raise FileNotFoundError(f"{uri}: no such file") from None
        raise
    return Stored(key.rpartition("/")[2], head["ContentLength"], head["ETag"])


def download(uri: str, files: list[Stored], target: Path) -> None:
    """S3 objects below `uri` into a local directory: many at a time, large ones in parts, and as they were listed.

    Raises:
        OSError: one has changed since.
    """
    client, bucket, key = _s3(uri)
    for folder in {(target / file.name).parent for file in files}:
        folder.mkdir(parents=True, exist_ok=True)
    # a request for a part, unlike one for the whole, says which ETag it wants: so all but empty files come in parts
    with _transfers(client, uri, whole=1, part=8 << 20) as (manager, begun):
        for file in files:
            path = str(target / file.name)
            begun.append(manager.download(bucket, _below(key, file.name), path, subscribers=[_Known(file)]))


@contextlib.contextmanager
def _transfers(client: Any, uri: str, whole: int, part: int) -> Iterator[tuple[Any, list[Any]]]:
    """boto3's transfers, ten requests at a time, and a list for those that are to be waited for.

    Args:
        whole: bytes up to which an object is moved in one request. part: bytes of a request for part of a larger one.
    """
    from boto3.s3.transfer import TransferConfig, create_transfer_manager
    from s3transfer.exceptions import S3DownloadFailedError

    changed = OSError(f"{uri}: changed while it was being copied; try again when it stays as it is")
    config = TransferConfig(preferred_transfer_client="classic", multipart_threshold=whole, multipart_chunksize=part)
    begun: list[Any] = []
    with create_transfer_manager(client, config) as manager:
        yield manager, begun
        try:
            for transfer in begun:
                transfer.result()
        except S3DownloadFailedError:  # another ETag
            raise changed from None
        except client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "NoSuchKey"):
                raise changed from None
            raise


class _Known:
    """Tells a transfer what the listing said: it needs no HEAD, and gets this very content or fails."""

    def __init__(self, file: Stored) -> None:
        self.file = file

    def on_queued(self, future: Any, **_: Any) -> None:
        future.meta.provide_transfer_size(self.file.size)
        future.meta.provide_object_etag(self.file.etag)


def copy_directory(source: str, target: str) -> None:
    """Copy all files below `source` to `target`; from S3 to S3 without passing through this machine."""
    if is_s3(source) and is_s3(target):
        _copy_in_s3(source, target)
        return
    from_system, from_path = filesystem(source)
    to_system, to_path = filesystem(target)
    make_directory(target)
    fs.copy_files(from_path, to_path, source_filesystem=from_system, destination_filesystem=to_system)


def _copy_in_s3(source: str, target: str) -> None:
    client, from_bucket, from_key = _s3(source)
    _, to_bucket, to_key = _s3(target)
    files = objects(source)
    if not files:
        raise FileNotFoundError(f"{source}: no such directory, or nothing in it")
    with _transfers(client, source, whole=64 << 20, part=64 << 20) as (manager, begun):
        for file in files:
            place = {"Bucket": from_bucket, "Key": _below(from_key, file.name)}
            begun.append(manager.copy(place, to_bucket, _below(to_key, file.name), subscribers=[_Known(file)]))
