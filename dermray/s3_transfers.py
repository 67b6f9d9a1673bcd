"""Directories to S3, from it and inside it: many objects at a time, large ones in parts.

Why not pyarrow's copy_files: an error that S3 answers to the last request of a file (pyarrow 26) is told on stderr and
raised nowhere, and the file is missing.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dermray import s3

PART = 16 << 20  # bytes of an upload's part: ten of them are on their way at a time


def download(uri: str, files: list[s3.Stored], target: Path) -> None:
    """S3 objects below `uri` into a local directory: many at a time, large ones in parts, and as they were listed.

    Raises:
        OSError: one has changed since.
    """
    client, bucket, key = s3.client_of(uri)
    for folder in {(target / file.name).parent for file in files}:
        folder.mkdir(parents=True, exist_ok=True)
    # a request for a part, unlike one for the whole, says which ETag it wants: so all but empty files come in parts
    with _transfers(client, uri, whole=1, part=8 << 20) as (manager, begun):
        for file in files:
            path = str(target / file.name)
            begun.append(manager.download(bucket, s3.key_below(key, file.name), path, subscribers=[_Known(file)]))


def upload(source: Path, uri: str) -> None:
    """All files below a local directory below `uri`. Where this raises, some may be there, each of them whole.

    Raises:
        FileNotFoundError: no such directory. OSError: see `s3_events`.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such directory")
    client, bucket, key = s3.client_of(uri)
    with _transfers(client, uri, whole=PART, part=PART) as (manager, begun):
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            begun.append(manager.upload(str(file), bucket, s3.key_below(key, file.relative_to(source).as_posix())))


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

    def __init__(self, file: s3.Stored) -> None:
        self.file = file

    def on_queued(self, future: Any, **_: Any) -> None:
        future.meta.provide_transfer_size(self.file.size)
        future.meta.provide_object_etag(self.file.etag)


def copy(source: str, target: str) -> None:
    """All objects below `source` below `target`, by S3 itself: a request each, or one for each 64 MiB of large ones.

    Raises:
        FileNotFoundError: nothing is there. OSError: an object has changed meanwhile.
    """
    client, from_bucket, from_key = s3.client_of(source)
    _, to_bucket, to_key = s3.client_of(target)
    found = s3.files(source)
    if not found:
        raise FileNotFoundError(f"{source}: no such directory, or nothing in it")
    with _transfers(client, source, whole=64 << 20, part=64 << 20) as (manager, begun):
        for file in found:
            place = {"Bucket": from_bucket, "Key": s3.key_below(from_key, file.name)}
            begun.append(manager.copy(place, to_bucket, s3.key_below(to_key, file.name), subscribers=[_Known(file)]))
