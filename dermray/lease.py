"""One writer at a time: a claim that its holder renews, on local disk and in S3.

    free --- take ---> held --- renew, every SECONDS / 6 ---> held
                         |
                         +--- release: the claim stays, marked ---> free
                         +--- not renewed for SECONDS, by the store's own clock ---> anybody may take it over

Two rules make it safe. Every change is conditional on the version that was read, so that of two writers who change the
claim one fails and knows it. And a holder trusts its claim for less time than others wait, counted by its own monotonic
clock from before its last renewal was sent: it has stopped believing before anybody may take over. Clocks of two
machines are never compared.

A store may be out of reach for longer than that. Its writer works on meanwhile, in a directory that is its own, and
renews as soon as the store answers: where nobody has taken over, the claim is unchanged, and held again; where somebody
has, the writer is stopped.
"""

import contextlib
import email.utils
import fcntl
import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from dermray import s3, storage
from dermray.storage import OutputTaken

SECONDS = 60.0  # a claim not renewed for this long is free
# A holder stops believing this much earlier: S3 tells times in whole seconds, so an age may be 2 s too high; the rest
# is for a write that was on its way when it stopped.
MARGIN = 10.0
PATIENCE = 240.0  # seconds that a store may be out of reach at the very end: as long as s3.py tries its other requests
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


class Lease:
    """One writer's hold on a claim.

    Args:
        store: where the claim lies.
        clock: monotonic seconds that go on while the machine sleeps; only differences are used.
        seconds, margin: see SECONDS and MARGIN.
    """

    def __init__(
        self, store: Store, clock: Callable[[], float] | None = None, seconds: float = SECONDS, margin: float = MARGIN
    ) -> None:
        clock = clock or _seconds_awake_and_asleep
        self.store, self.clock, self.seconds, self.margin = store, clock, seconds, margin
        self.writer = uuid.uuid4().hex
        self.attempt = ""  # names the directory that this writer uses; the first one's has no name
        self._version, self._renewed, self._ended = "", float("-inf"), False
        self._one_at_a_time = threading.Lock()  # a stage that ends renews beside the thread that does

    @property
    def lost(self) -> bool:
        """Whether the store has said that the claim is no longer this writer's."""
        return self._ended

    @property
    def held(self) -> bool:
        """Whether this writer may still write: nobody can have taken over."""
        return not self._ended and self.clock() - self._renewed < self.seconds - self.margin

    def take(self) -> None:
        """Become the holder.

        Raises:
            OutputTaken: a living writer holds the claim, or another was quicker.
        """
        asked = self.clock()
        claim = self.store.read()
        if claim is not None and not claim.left and claim.age < self.seconds:
            raise OutputTaken(
                f"another run on {claim.host} wrote here {claim.age:.0f} s ago; wait for it, or {self.seconds:.0f} s "
                "if it was killed; or choose another output"
            )
        if claim is not None:
            # Where a claim only ran out, its writer may wake up and write on: this attempt gets a directory of its own.
            self.attempt = claim.attempt if claim.left else self.writer[:8]
        version = self._write(None if claim is None else claim.version)
        if version is None:
            raise OutputTaken("another run took this output just now; wait for it or choose another output")
        self._version, self._renewed = version, asked

    def renew(self) -> bool:
        """Say that this writer lives; False, and for ever, where another has taken the claim.

        Raises whatever the store raises: try again.
        """
        with self._one_at_a_time:
            if self._ended:
                return False
            asked = self.clock()
            version = self._write(self._version)
            if version is None:
                self._ended = True
                return False
            self._version, self._renewed = version, asked
            return True

    def confirm(self, patience: float = PATIENCE) -> bool:
        """`renew`, trying for `patience` seconds where the store does not answer; then raises what it raised."""
        end = self.clock() + patience
        while True:
            try:
                return self.renew()
            except Exception:
                if self.clock() > end:
                    raise
                time.sleep(1)

    def release(self) -> None:
        """Let others in at once. A claim that may be another's by now stays as it is."""
        with self._one_at_a_time:
            try:
                if not self._ended:
                    self._write(self._version, released=True)
            finally:
                self._ended = True
                self.store.close()

    def _write(self, version: str | None, released: bool = False) -> str | None:
        """One conditional write: the new version, or None. A write whose answer was lost is refused when it is sent
        again, as botocore does by itself; the token that lies there tells whether it was ours."""
        token = uuid.uuid4().hex
        body = {"writer": self.writer, "attempt": self.attempt, "released": released, "token": token,
                "host": os.uname().nodename, "pid": os.getpid()}  # fmt: skip
        written = self.store.create(body) if version is None else self.store.replace(body, version, not self.held)
        if written is None and (claim := self.store.read()) is not None and claim.token == token:
            return claim.version
        return written


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
        except self.client.exceptions.NoSuchBucket:
            raise FileNotFoundError(f"s3://{self.bucket}: no such bucket; create it, or correct the address") from None
        now = email.utils.parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        age = (now - answer["LastModified"]).total_seconds()
        return _claim(json.loads(answer["Body"].read()), answer["ETag"], age)

    def create(self, body: dict[str, Any]) -> str | None:
        """See Store. Raises RuntimeError: the store does not heed conditions; asked once of a bucket by a process."""
        version = self._put(body, IfNoneMatch="*")
        if version is not None and self.bucket not in _HEEDED:
            for condition in ({"IfNoneMatch": "*"}, {"IfMatch": NO_VERSION}):
                if self._put(body, **condition) is not None:
                    self.client.delete_object(Bucket=self.bucket, Key=self.key)  # nobody shall wait for this claim
                    raise RuntimeError(
                        f"s3://{self.bucket}: this store ignores {next(iter(condition))}, so two runs could write the "
                        "same result without knowing; use a store (or a newer version) that knows conditional writes"
                    )
            _HEEDED.add(self.bucket)
        return version

    def replace(self, body: dict[str, Any], version: str, late: bool = False) -> str | None:
        """See Store."""
        return self._put(body, IfMatch=version)

    def _put(self, body: dict[str, Any], **condition: str) -> str | None:
        for _ in range(TRIES):
            try:
                data = json.dumps(body).encode()
                return str(self.client.put_object(Bucket=self.bucket, Key=self.key, Body=data, **condition)["ETag"])
            except self.client.exceptions.ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status in (404, 412):  # another version; or the claim was removed by hand
                    return None
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


def _seconds_awake_and_asleep() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # CLOCK_MONOTONIC stops while a machine is suspended


@contextlib.contextmanager
def hold(uri: str) -> Iterator[Lease]:
    """Hold `uri` against other writers while the body runs, which a lost claim interrupts.

    Raises:
        OutputTaken: a living writer holds it; or the claim was lost, and the body was stopped.
    """
    lease = Lease(S3Store(uri) if storage.is_s3(uri) else LocalStore(uri), seconds=SECONDS, margin=MARGIN)
    try:
        lease.take()
    except OutputTaken as taken:
        raise OutputTaken(f"{uri}: {taken}") from None
    stop, in_main = threading.Event(), threading.current_thread() is threading.main_thread()
    thread = threading.Thread(target=_renew, args=(lease, uri, stop, in_main), daemon=True)
    thread.start()
    try:
        yield lease
    except (KeyboardInterrupt, SystemExit):  # Ray Train makes the one of the other
        if lease.lost:
            raise OutputTaken(lost(uri)) from None
        raise
    finally:
        stop.set()
        thread.join()
        with contextlib.suppress(Exception):  # it runs out by itself; what the body raised is what matters
            lease.release()


def lost(uri: str) -> str:
    """What to say where a claim was lost."""
    return (
        f"{uri}: this run could not renew its claim for {SECONDS:.0f} s, and another has taken over; it has stopped. "
        "Wait for the other run; run this one again only where that one fails"
    )


def _renew(lease: Lease, uri: str, stop: threading.Event, in_main: bool) -> None:
    """Runs beside the writer. Where the claim is lost it interrupts a writer in the main thread; one elsewhere is
    refused when it commits. Tells when the store stops answering, and when it answers again."""
    failing = False
    while not stop.wait(SECONDS / 6):
        problem = ""
        try:
            lease.renew()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if lease.lost:
            while in_main and not stop.is_set():
                # A real signal ends a wait inside a system call too. Python drops one that arrives in a callback of its
                # garbage collector, so it is sent again, but not so soon that it would disturb an orderly end.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                stop.wait(30)
            return
        if problem and not failing:
            print(
                f"dermray: {uri}: the claim cannot be renewed ({problem[:200]}); working on and trying again",
                flush=True,
            )
        if failing and not problem:
            print(f"dermray: {uri}: the claim is renewed again", flush=True)
        failing = bool(problem)
