"""A place for results: can it be written to, and does it keep two writers apart?"""

import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dermray import s3, s3_events, storage
from dermray.doctor.finding import Finding, fault, ok, warning

SKEW = 60.0  # seconds: claims are timed by the store's clock, but S3 refuses requests that are 15 minutes off
FREE = 5 << 30  # bytes


def findings(uri: str) -> Iterator[Finding]:
    """Of a directory or an s3:// URI. What is written is removed; directories that were made above it stay."""
    try:
        uri = storage.normalise(uri)
        yield from (_of_s3(uri) if storage.is_s3(uri) else _of_directory(uri))
    except (OSError, ValueError) as error:
        yield fault(f"{uri}: {error}", "correct the place, its rights, or AWS_* settings, and ask again")


def _of_directory(uri: str) -> Iterator[Finding]:
    existed = storage.exists(uri)
    storage.make_directory(uri)
    probe = storage.join(uri, f".doctor-{uuid.uuid4().hex}")
    try:
        yield from _kept_apart(uri, probe)
    finally:
        storage.delete_file(probe)
        if not existed:
            Path(uri).rmdir()
    free = shutil.disk_usage(Path(uri) if existed else Path(uri).parent).free
    if free < FREE:
        yield warning(f"{uri}: {free / 2**30:.1f} GiB free", "checkpoints and images need more: choose another disk")


def _kept_apart(uri: str, probe: str) -> Iterator[Finding]:
    storage.create(probe, b"first")
    try:
        storage.create(probe, b"second")
    except storage.OutputTaken:
        yield ok(f"{uri}: can be written to, and keeps two writers apart")
    else:
        yield fault(f"{uri}: two writers both succeed in creating a file", "take another file system, with hard links")


def _of_s3(uri: str) -> Iterator[Finding]:
    s3.require_reachable(uri)
    client, bucket, key = s3.client_of(storage.join(uri, f".doctor-{uuid.uuid4().hex}"))
    began = time.monotonic()
    try:
        client.put_object(Bucket=bucket, Key=key, Body=b"first")
        answer = client.get_object(Bucket=bucket, Key=key)
        read = answer["Body"].read()
    except client.exceptions.ClientError as error:
        yield fault(f"{uri}: {error}", "create the bucket, or let these credentials read, write, list and delete there")
        return
    took = time.monotonic() - began
    try:
        yield (
            ok(f"{uri}: written and read in {took:.2f} s")
            if read == b"first"
            else fault(f"{uri}: what was read is not what was written", "take another store")
        )
        yield _conditions(uri, client, bucket, key, answer["ETag"])
        yield _clock(uri, answer)
    finally:
        client.delete_object(Bucket=bucket, Key=key)


def _conditions(uri: str, client: Any, bucket: str, key: str, etag: str) -> Finding:
    """Whether writes under a condition that does not hold are refused: results and claims rest on it."""
    ignored = list[str]()
    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": f'"{"0" * 32}"'}):
        try:
            client.put_object(Bucket=bucket, Key=key, Body=b"second", **condition)
            ignored += condition
        except client.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                return fault(
                    f"{uri}: conditional writes fail ({error})", "take a store that knows If-Match and If-None-Match"
                )
    if ignored:
        return fault(
            f"{uri}: this store ignores {' and '.join(ignored)}, so two runs could write the same result",
            "take a store, or a newer version of it, that knows conditional writes",
        )
    return ok(f"{uri}: conditional writes keep two writers apart")


def _clock(uri: str, answer: Any) -> Finding:
    skew = s3_events.skew(answer["ResponseMetadata"]["HTTPHeaders"])
    told = f"clock: {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} that of {uri.split('/')[2]}"
    return ok(told) if abs(skew) < SKEW else warning(told, "set the clock (NTP): S3 refuses requests 15 minutes off")
