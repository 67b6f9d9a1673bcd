"""S3: how it is reached, what lies there, and requests about one object or a list. s3_transfers.py moves directories.

Settings come from the environment, then from ~/.aws, as boto3 reads them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, AWS_PROFILE, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_CA_BUNDLE; the region is AWS_REGION,
AWS_DEFAULT_REGION or the profile's.
"""

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pyarrow import fs

from dermray import patience, s3_events, store_errors

Result = TypeVar("Result")
CUT_ANSWER = "Failed to flush response stream"  # pyarrow, where an error's text is longer than what was asked for
CONNECTIONS = 64  # of botocore's client: requests at a time
SILENCE = 60.0  # seconds that a server may take to say something: botocore's own; pyarrow's own are 3
CONNECT = 5.0  # seconds that a connection may take


SETTINGS = ("HOME", "REQUESTS_CA_BUNDLE", patience.VARIABLE)  # beside AWS's own


class PatientS3(fs.S3FileSystem):
    """pyarrow's, as patient as `patience` says also after it has travelled to a worker, for which pyarrow's own forgets
    it."""

    def __init__(self, **options: Any) -> None:
        # Its first retry is at once, and the pauses before the others double from 0.05 s on. AWS's newer "standard"
        # ones stop where some hundred requests of a process have failed, as they do in any outage.
        retry = fs.AwsDefaultS3RetryStrategy(max_attempts=patience.doublings() + 1)
        super().__init__(retry_strategy=retry, request_timeout=SILENCE, connect_timeout=CONNECT, **options)
        self.options = options

    def create_dir(self, path: str, *, recursive: bool = True) -> None:
        """Nothing: a key needs no directory. pyarrow asks for the bucket and writes an empty object for each part of
        the path, and Ray Data calls this for every block: seven requests."""

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **self.options), ()


def client_of(uri: str) -> tuple[Any, str, str]:
    """botocore's client, bucket and key; raises as `clients` does."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return clients(uri)[0], bucket, key


def clients(uri: str) -> tuple[Any, fs.S3FileSystem]:
    """botocore's client, for what needs conditions, and pyarrow's file system, for all else. Both bear an outage of
    `patience.seconds()`.

    Raises:
        ValueError: no credentials, an unknown profile, or an endpoint that is no address of a server.
    """
    return _settled(uri)[:2]


def prompt_client(uri: str) -> Any:
    """botocore's client that says within some seconds that S3 is out of reach; raises as `clients` does."""
    return _settled(uri)[2]


def require_reachable(uri: str) -> None:
    """For the start of a job, where a wrong address should not be tried as long as an outage is borne.

    Raises:
        store_errors.Unanswered: nobody answers there. OSError: it is full, or this machine's clock is off.
        ValueError: see `clients`.
    """
    from botocore.exceptions import ClientError

    client, bucket, _ = prompt_client(uri), *client_of(uri)[1:]
    try:
        client.head_bucket(Bucket=bucket)
    except store_errors.Unanswered:
        raise
    except (ClientError, PermissionError, store_errors.Passing):
        return  # an answer; what it means is for the request that matters


def _settled(uri: str) -> tuple[Any, fs.S3FileSystem, Any]:
    """Patient client, file system and prompt client by the settings as they are now."""
    from botocore.exceptions import BotoCoreError

    files = (
        os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config",
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials",
    )
    # Reading the settings takes 80 ms, so it is done anew only where they changed, or in a forked process.
    state = [(k, v) for k, v in sorted(os.environ.items()) if k.startswith("AWS_") or k in SETTINGS]
    state += [(file, _modified(file)) for file in files]
    try:
        return _connected(os.getpid(), tuple(sorted(state)))
    except (BotoCoreError, ValueError) as error:
        raise ValueError(f"{uri}: {error}") from None


def _modified(file: str) -> str:
    path = Path(file).expanduser()
    return str(path.stat().st_mtime_ns) if path.is_file() else ""


@functools.lru_cache(maxsize=4)
def _connected(*_state: Any) -> tuple[Any, fs.S3FileSystem, Any]:
    """Settings are read once, by botocore, and pyarrow is told what it read: by themselves they differ in the
    variables, files and profiles that they look at."""
    from botocore.config import Config
    from botocore.session import get_session

    session = get_session()
    credentials = session.get_credentials()
    if credentials is None:
        raise ValueError("no S3 credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    # botocore itself does not know AWS_REGION, which AWS's other tools prefer
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or "us-east-1"
    try:
        # links that are handed out are signed as all regions understand them; botocore's own choice for these is older
        config = Config(max_pool_connections=CONNECTIONS, signature_version="s3v4", connect_timeout=CONNECT,
                        read_timeout=SILENCE)  # fmt: skip
        client = session.create_client("s3", region_name=region, config=config)
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
    s3_events.attach(client, patience.seconds())
    short = Config(connect_timeout=CONNECT, read_timeout=10, retries={"total_max_attempts": 3})
    prompt = session.create_client("s3", region_name=region, config=short)
    s3_events.attach(prompt, None)
    return client, PatientS3(**options), prompt


def _endpoint(client: Any) -> dict[str, Any]:
    """The server and the way of addressing it, as pyarrow wants them; nothing for Amazon's own."""
    url, region = client.meta.endpoint_url, client.meta.region_name
    if url in ("https://s3.amazonaws.com", f"https://s3.{region}.amazonaws.com"):
        return {}
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(
            f"S3 endpoint at {parts.hostname}: its URL holds a user or password; give AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY instead"
        )
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


@dataclass(frozen=True, order=True)
class Stored:
    """An S3 object: its name below a directory, bytes, and the ETag that changes with its content."""

    name: str
    size: int
    etag: str


def objects(uri: str, inside: str = "") -> Iterator[Stored]:
    """All S3 objects below `uri`, page by page: a request for each thousand, and no more are held.

    Args:
        inside: what their names below `uri` begin with.
    """
    return (entry for entry in _listed(uri, inside) if isinstance(entry, Stored))


def level(uri: str, inside: str = "") -> Iterator[Stored | str]:
    """As `objects`, but of names that have a slash after `inside` only what stands up to it, once."""
    return _listed(uri, inside, Delimiter="/")


def _listed(uri: str, inside: str, **options: str) -> Iterator[Stored | str]:
    client, bucket, key = client_of(uri)
    place = key_below(key, "")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=place + inside, **options):
        for entry in page.get("Contents", ()):
            if not entry["Key"].endswith("/"):  # consoles write such empty objects for folders
                yield Stored(entry["Key"].removeprefix(place), entry["Size"], entry["ETag"])
        for entry in page.get("CommonPrefixes", ()):
            yield entry["Prefix"].removeprefix(place)


def files(uri: str) -> list[Stored]:
    """The objects below `uri` as files of a directory.

    Raises:
        ValueError: a name that would lead out of a directory.
    """
    below = list(objects(uri))
    for stored in below:
        if {"", ".", ".."} & set(stored.name.split("/")):
            raise ValueError(f"{uri}: holds {stored.name!r}, which is no path below a directory; rename it")
    return below


def key_below(key: str, name: str) -> str:
    """The key of what has this name below another key."""
    return f"{key}/{name}" if key else name


def stored(uri: str) -> Stored:
    """The S3 object at `uri`, by its last name.

    Raises:
        FileNotFoundError: none is there.
    """
    client, bucket, key = client_of(uri)
    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NoSuchBucket"):
            raise FileNotFoundError(f"{uri}: no such file") from None
        raise
    return Stored(key.rpartition("/")[2], head["ContentLength"], head["ETag"])


def fetched(client: Any, **request: Any) -> tuple[Any, bytes]:
    """The answer to GetObject and its whole body. botocore asks again where a request fails, but not where the
    connection ends within the body; this does.

    Raises:
        botocore's errors, as `get_object`; its HTTPClientError or IncompleteReadError where each body was cut.
    """
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    def whole() -> tuple[Any, bytes]:
        answer = client.get_object(**request)
        return answer, bytes(answer["Body"].read())

    return patience.tried(whole, lambda error: isinstance(error, HTTPClientError | IncompleteReadError))


def delete(uris: list[str]) -> None:
    """Objects of one bucket, a thousand in a request.

    Raises:
        OSError: some could not be deleted.
    """
    for start in range(0, len(uris), 1000):
        client, bucket, _ = client_of(uris[start])
        keys = [{"Key": client_of(uri)[2]} for uri in uris[start : start + 1000]]
        left = client.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True}).get("Errors", [])
        if left:
            raise OSError(f"{uris[start]}: {len(left)} objects could not be deleted, such as {left[0]}")


def again(read: Callable[[], Result]) -> Result:
    """`read`, tried again where pyarrow's client does not do so by itself: it keeps an answer in as many bytes as were
    asked for, and fails for good where the text of a 503 is longer."""
    return patience.tried(read, lambda error: isinstance(error, OSError) and CUT_ANSWER in str(error))


def move(source: str, target: str) -> None:
    """One object, in two requests: S3 can copy and delete only, and what stops in between leaves both.

    Raises:
        FileNotFoundError: nothing is at `source`.
    """
    client, from_bucket, from_key = client_of(source)
    _, to_bucket, to_key = client_of(target)
    try:
        client.copy_object(Bucket=to_bucket, Key=to_key, CopySource={"Bucket": from_bucket, "Key": from_key})
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            raise FileNotFoundError(f"{source}: no such file") from None
        raise
    client.delete_object(Bucket=from_bucket, Key=from_key)
