"""Where the claim of one writer lies (lease.py): an object in S3, or files on a disk.

Each store decides races by itself, and tells times by its own clock.
"""

import contextlib
import email.utils
import fcntl
import json
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from dermray import s3, storage

NO_VERSION = f'"{"0" * 32}"'  # an ETag that no object has
_HEEDED = set[str]()  # buckets whose store refused what a condition forbids
TRIES = 4  # of a write that met another conditional write (409), a fifth of a second apart


@dataclass(frozen=True)
class Claim:
    """A claim as the store has it."""

    writer: str  # a name that no other attempt has
    attempt: str  # names the directory that the writer uses
    token: str  # of the write: no other write has it
    version: str  # what a conditional write names
    age: float  # seconds since it was written, by the store's clock
    host: str  # of the writer, for people
    released: bool = False
    surely_dead: bool = False  # the system knows that the writer has ended: no need to wait

    @property
    def left(self) -> bool:
        """Whether its writer certainly writes no more."""
        return self.released or self.surely_dead


class Store(Protocol):
    """Where one claim lies: three requests, two of them conditional."""

    def close(self) -> None:
        """This writer has ended, whether or not it could write so."""

    def read(self) -> Claim | None:
        """The claim, or None where there never was one."""

    def create(self, body: dict[str, Any]) -> str | None:
        """Write the first claim: its version, or None where another writer was first."""

    def replace(self, body: dict[str, Any], version: str, late: bool = False) -> str | None:
        """Write over exactly `version`: the new version, or None where it is another by now.

        `late` tells that others may be taking over just now.
        """


class S3Store:
    """A claim in S3: If-Match and If-None-Match decide; an answer's Date is the store's clock."""

    def __init__(self, uri: str) -> None:
        _, self.bucket, self.key = s3.client_of(uri)
        self.client = s3.prompt_client(uri)  # a renewal that hangs is worth less than the next one

    def close(self) -> None:
        """See Store. A claim that could not be released runs out."""

    def read(self) -> Claim | None:
        """See Store."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.key)
        except self.client.exceptions.NoSuchKey:
            return None
        now = email.utils.parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        age = (now - answer["LastModified"]).total_seconds()
        return _claim(json.loads(answer["Body"].read()), answer["ETag"], age)

    def create(self, body: dict[str, Any]) -> str | None:
        """See Store. Raises RuntimeError: the store does not heed conditions; asked once of a bucket by a process."""
        version = self._put(body, IfNoneMatch="*")
        if version is not None:
            self._require_heeded(body)
        return version

    def _require_heeded(self, body: dict[str, Any]) -> None:
        """Ask the store for two writes that it must refuse."""
        if self.bucket in _HEEDED:
            return
        for condition in ({"IfNoneMatch": "*"}, {"IfMatch": NO_VERSION}):
            if self._put(body, **condition) is not None:
                self.client.delete_object(Bucket=self.bucket, Key=self.key)  # nobody shall wait for this claim
                raise self._useless(f"ignores {next(iter(condition))}")
        _HEEDED.add(self.bucket)

    def _useless(self, why: str) -> RuntimeError:
        return RuntimeError(
            f"s3://{self.bucket}: this store {why}, so two runs could write the same result without knowing; nothing "
            "was begun. Use a store, or a newer version of it, that knows conditional writes (If-None-Match, If-Match)"
        )

    def replace(self, body: dict[str, Any], version: str, late: bool = False) -> str | None:
        """See Store. Raises as `create`: what lies there may be of another time, or of another store."""
        new = self._put(body, IfMatch=version)
        if new is not None:
            self._require_heeded(body)
        return new

    def _put(self, body: dict[str, Any], **condition: str) -> str | None:
        for _ in range(TRIES):
            try:
                data = json.dumps(body).encode()
                return str(self.client.put_object(Bucket=self.bucket, Key=self.key, Body=data, **condition)["ETag"])
            except self.client.exceptions.ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status in (404, 412):  # another version; or the claim was removed by hand
                    return None
                if status == 501:
                    raise self._useless("does not know conditional writes") from None
                if status != 409:
                    raise
            time.sleep(0.2)
        return None


class LocalStore:
    """A claim on a disk that several machines may share: files `claim.<n>`, of which the highest counts.

    Creating a file that must not exist is decided by the disk's server, on NFS too, where locks and renames differ. A
    holder renews by touching its file; the time of a file made just now is the server's clock. On one machine a lock on
    the file tells at once that its writer has ended.
    """

    def __init__(self, uri: str) -> None:
        self.path = Path(uri)
        self._locked: IO[str] | None = None  # kept open while this writer lives
        storage.make_directory(str(self.path.parent))

    def close(self) -> None:
        """See Store. Without the lock others on this machine know that this writer has ended, on a full disk too."""
        if self._locked is not None:
            self._locked.close()
            self._locked = None

    def read(self) -> Claim | None:
        """See Store."""
        number = self._highest()
        if number is None:
            return None
        file = self._file(number)
        body = json.loads(file.read_text())
        return _claim(body, str(number), self._now() - file.stat().st_mtime, surely_dead=self._ended(file, body))

    def create(self, body: dict[str, Any]) -> str | None:
        """See Store."""
        return self._add(0, body)

    def replace(self, body: dict[str, Any], version: str, late: bool = False) -> str | None:
        """See Store."""
        number = self._highest()
        if number is None or str(number) != version:
            return None
        file = self._file(number)
        if self._locked is None or body["released"] or late:
            return self._add(number + 1, body)
        os.utime(file)  # this writer's own file, which nobody else touches
        return version if self._highest() == number else None

    def _file(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _highest(self) -> int | None:
        endings = [file.suffix[1:] for file in self.path.parent.glob(f"{self.path.name}.*")]
        return max((int(ending) for ending in endings if ending.isdigit()), default=None)

    def _add(self, number: int, body: dict[str, Any]) -> str | None:
        partial = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.partial")
        file = partial.open("w")
        try:
            json.dump(body | {"boot": _boot()}, file)
            file.flush()
            with contextlib.suppress(OSError):  # a disk without locks: its claims run out by age alone
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.link(partial, self._file(number))  # fails where the name exists; the lock goes with the file
        except FileExistsError:
            file.close()
            return None
        finally:
            partial.unlink(missing_ok=True)
        if self._locked is not None:
            self._locked.close()
        self._locked = file
        self._file(number - 2).unlink(missing_ok=True)  # the one before stays for who is reading it
        return str(number)

    def _ended(self, file: Path, body: dict[str, Any]) -> bool:
        if body["boot"] != _boot():
            return False
        with file.open() as probe:
            try:
                fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        return True

    def _now(self) -> float:
        probe = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.now")
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink()


def _boot() -> str:
    """Names this machine since it was started."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else os.uname().nodename


def _claim(body: dict[str, Any], version: str, age: float, surely_dead: bool = False) -> Claim:
    names = ("writer", "attempt", "token", "host", "released")
    return Claim(version=version, age=age, surely_dead=surely_dead, **{name: body[name] for name in names})
