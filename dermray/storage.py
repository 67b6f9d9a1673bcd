"""Files by URI, on local disk and in S3: the same few verbs, and two that decide races.

Paths without a scheme are local. S3 credentials and endpoint come from the environment as boto3 reads them
(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL).
"""

import contextlib
import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs

CLAIM_SECONDS = 60  # an S3 claim not renewed for this long belongs to a dead writer


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
        ValueError: an S3 URI without credentials in the environment.
    """
    if not is_s3(uri):
        return fs.LocalFileSystem(), str(uri)
    _require_credentials(uri)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    options: dict[str, Any] = {"region": region, "allow_bucket_creation": False}
    if endpoint:
        scheme, _, host = endpoint.rpartition("://")
        options |= {"endpoint_override": host, "scheme": scheme or "https"}
    return fs.S3FileSystem(**options), uri.removeprefix("s3://")


def _require_credentials(uri: str) -> None:
    import boto3

    if boto3.Session().get_credentials() is None:
        raise ValueError(
            f"{uri}: no S3 credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )


def _s3(uri: str) -> tuple[Any, str, str]:
    import boto3

    _require_credentials(uri)
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return boto3.client("s3", region_name=os.environ.get("AWS_REGION", "us-east-1")), bucket, key


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


@contextlib.contextmanager
def claim(uri: str) -> Iterator[None]:
    """Hold `uri` against other writers. A killed holder's claim ends by itself: at once locally, within a minute in S3.

    Raises:
        OutputTaken: a living writer holds it.
    """
    holder = _s3_claim(uri) if is_s3(uri) else _local_claim(uri)
    with holder:
        yield


@contextlib.contextmanager
def _local_claim(uri: str) -> Iterator[None]:
    path = Path(uri)
    make_directory(str(path.parent))
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputTaken(
                f"{path.parent}: another run is writing here; wait for it or choose another output"
            ) from None
        yield


@contextlib.contextmanager
def _s3_claim(uri: str) -> Iterator[None]:
    me, stop = uuid.uuid4().hex, threading.Event()
    _take_s3_claim(uri, me)

    def renew() -> None:
        while not stop.wait(CLAIM_SECONDS / 4):
            write_bytes(uri, _claim_body(me))

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        client, bucket, key = _s3(uri)
        client.delete_object(Bucket=bucket, Key=key)


def _take_s3_claim(uri: str, me: str) -> None:
    try:
        create(uri, _claim_body(me))
        return
    except OutputTaken:
        client, bucket, key = _s3(uri)
        found = client.get_object(Bucket=bucket, Key=key)
        age = time.time() - json.loads(found["Body"].read())["time"]
    if age < CLAIM_SECONDS:
        raise OutputTaken(
            f"{uri}: another run wrote here {age:.0f} s ago; wait for it, or {CLAIM_SECONDS} s if it was killed"
        )
    try:  # replaces exactly the claim that was read: of two heirs one gets it
        client.put_object(Bucket=bucket, Key=key, Body=_claim_body(me), IfMatch=found["ETag"])
    except client.exceptions.ClientError:
        raise OutputTaken(f"{uri}: another run took this output over just now") from None


def _claim_body(me: str) -> bytes:
    return json.dumps({"writer": me, "time": time.time(), "host": os.uname().nodename, "pid": os.getpid()}).encode()
