"""The claim's rules by a model check over an imagined store, then on real disks and a real S3 server."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dermray import claims, lease, s3
from dermray.claims import Claim, LocalStore, S3Store
from dermray.lease import Lease
from dermray.storage import OutputTaken

WRITERS = st.integers(0, 1)


class ImaginedStore:
    """What S3 promises of one key, with requests that fail before or after they were carried out."""

    def __init__(self) -> None:
        self.now, self.body, self.version, self.written = 0.0, dict[str, Any](), 0, 0.0
        self.fault = ""

    def read(self) -> Claim | None:
        if self.fault:
            raise OSError("no connection")
        if not self.version:
            return None
        names = ("writer", "attempt", "token", "host", "released")
        # whole seconds, as S3 tells them
        age = float(int(self.now) - int(self.written))
        return Claim(version=str(self.version), age=age, **{name: self.body[name] for name in names})

    def close(self) -> None:
        pass

    def create(self, body: dict[str, Any]) -> str | None:
        return self._write(body, "0")

    def replace(self, body: dict[str, Any], version: str, late: bool = False) -> str | None:
        return self._write(body, version)

    def _write(self, body: dict[str, Any], version: str) -> str | None:
        if self.fault == "before":
            raise OSError("no connection")
        if str(self.version) != version:
            return None
        self.body, self.written, self.version = body, self.now, self.version + 1
        if self.fault == "after":
            raise OSError("the answer was lost")
        if self.fault == "resent":  # botocore sends it again, and the second one meets the first
            return None
        return str(self.version)


class Writers(RuleBasedStateMachine):
    """Two writers whose renewals are late, lost or never come, over outputs that must stay whole."""

    def __init__(self) -> None:
        super().__init__()
        self.store = ImaginedStore()
        self.leases: list[Lease | None] = [None, None]
        self.asked: set[str] = set()  # writers that found their claim theirs, and have not yet written the manifest
        self.manifest: str | None = None  # the attempt whose directory it names

    @rule(writer=WRITERS)
    def take(self, writer: int) -> None:
        if self.leases[writer] is not None and self.leases[writer].held:  # type: ignore[union-attr]
            return
        candidate = Lease(self.store, lambda: self.store.now)
        with contextlib.suppress(OutputTaken, OSError):
            candidate.take()
            self.leases[writer] = candidate

    @rule(writer=WRITERS, fault=st.sampled_from(["", "", "before", "after", "resent"]))
    def renew(self, writer: int, fault: str) -> None:
        holder = self.leases[writer]
        if holder is not None:
            self.store.fault = fault
            with contextlib.suppress(OSError):
                holder.renew()
            self.store.fault = ""

    @rule(writer=WRITERS)
    def release(self, writer: int) -> None:
        holder = self.leases[writer]
        if holder is None:
            return
        other = self.store.body.get("writer") not in (None, holder.writer)
        before = dict(self.store.body)
        self.asked.discard(holder.writer)
        holder.release()
        if other:
            assert self.store.body == before, "another's claim was touched"

    @rule(writer=WRITERS)
    def ask(self, writer: int) -> None:
        """First half of a commit: renew. What follows can come any time later, the writer being paused."""
        holder = self.leases[writer]
        if holder is not None and holder.renew():
            self.asked.add(holder.writer)

    @rule(writer=WRITERS)
    def commit(self, writer: int) -> None:
        """Second half: create the manifest, which must not exist."""
        holder = self.leases[writer]
        if holder is None or holder.writer not in self.asked or self.manifest is not None:
            return
        self.manifest = holder.attempt
        others = [other for other in self.leases if other is not None and other is not holder]
        assert all(other.attempt != self.manifest for other in others if other.held), "another writes there too"

    @rule(seconds=st.sampled_from([0.3, 5.0, 12.0, 48.0, 59.0, 61.0, 120.0]))
    def wait(self, seconds: float) -> None:
        self.store.now += seconds

    @invariant()
    def never_two_holders(self) -> None:
        held = [holder for holder in self.leases if holder is not None and holder.held]
        assert len(held) <= 1
        # and no two that could write to one directory
        assert len({holder.attempt for holder in held}) == len(held)


def test_a_writer_that_wakes_up_late_commits_only_what_it_wrote_itself() -> None:
    """What a search finds too rarely: paused between asking and writing the manifest, taken over, awake again."""
    writers = Writers()
    writers.take(0)
    writers.ask(0)
    writers.wait(61.0)
    writers.take(1)
    writers.never_two_holders()
    writers.commit(0)
    assert writers.manifest is not None


TestWriters = Writers.TestCase
TestWriters.settings = settings(max_examples=300, stateful_step_count=15, deadline=None)


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Makes stores over one claim."""
    if request.param == "local":
        return lambda: LocalStore(str(tmp_path / "claim"))
    bucket = request.getfixturevalue("bucket")
    return lambda: S3Store(f"{bucket}/claim")


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    with pytest.raises(FileNotFoundError, match="^s3://another-bucket-than-this/.*create the bucket or correct"):
        S3Store("s3://another-bucket-than-this/run/claim").read()


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match"])
def test_a_store_that_ignores_conditions_is_refused(bucket: str, header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_HEEDED", set())
    client = s3.prompt_client(bucket)

    def forget(request: Any, **_: Any) -> None:
        del request.headers[header]

    client.meta.events.register("before-sign.s3.PutObject", forget)
    try:
        with (
            pytest.raises(RuntimeError, match=f"ignores {header.replace('-', '')}, so two runs could write the same"),
            lease.hold(f"{bucket}/run"),
        ):
            raise AssertionError("nothing is done there")
    finally:
        client.meta.events.unregister("before-sign.s3.PutObject", forget)
    with lease.hold(f"{bucket}/run"):  # at once: the refused claim is gone
        assert bucket.removeprefix("s3://") in claims._HEEDED


def test_a_claim_that_ran_out_is_taken_over_and_its_writer_knows(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_boot", iter(["one machine"] * 2 + ["another"] * 20).__next__)
    first = Lease(store(), seconds=4.0, margin=1.0)
    first.take()
    assert first.held and first.renew()
    with pytest.raises(OutputTaken, match="another run on .* wrote here"):
        Lease(store(), seconds=4.0, margin=1.0).take()
    time.sleep(6)  # S3 knows whole seconds
    assert not Lease.held.fget(first)  # type: ignore[attr-defined]  # mypy takes it for what it was
    heir = Lease(store(), seconds=4.0, margin=1.0)
    heir.take()
    assert heir.attempt != first.attempt
    first.release()
    assert not first.renew() and heir.renew(), "the heir's claim is untouched"


def test_after_a_release_the_same_directory_is_used(store: Any) -> None:
    first, second = Lease(store()), Lease(store())
    first.take()
    first.release()
    second.take()
    assert second.attempt == first.attempt and second.writer != first.writer


def test_of_concurrent_writers_one_gets_in(store: Any) -> None:
    start, entered = threading.Barrier(6), list[Lease]()  # kept: a lease that is forgotten ends

    def enter() -> None:
        mine = Lease(store())
        start.wait()
        with contextlib.suppress(OutputTaken):
            mine.take()
            entered.append(mine)

    threads = [threading.Thread(target=enter) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 1


def test_a_writer_killed_on_this_machine_is_known_to_be_dead_at_once(tmp_path: Path) -> None:
    with _holding(tmp_path / "claim") as process:
        with pytest.raises(OutputTaken):
            Lease(LocalStore(str(tmp_path / "claim"))).take()
        process.kill()
        process.wait()
    heir = Lease(LocalStore(str(tmp_path / "claim")))
    heir.take()
    assert heir.attempt == "", "nobody else writes to that directory"


def test_a_full_disk_does_not_keep_the_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release cannot be written; the lock ends all the same, in the process that goes on."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def stage() -> None:
        with lease.hold(str(tmp_path / "claim")):
            monkeypatch.setattr("json.dump", full)
            raise RuntimeError("the stage's own")

    with pytest.raises(RuntimeError, match="the stage's own"):
        stage()
    monkeypatch.undo()
    with lease.hold(str(tmp_path / "claim")):
        pass


def test_a_writer_that_lost_its_claim_is_stopped(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SECONDS", 3.0)
    monkeypatch.setattr(lease, "MARGIN", 0.5)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever another test's library left there
    stolen = {"writer": "thief", "attempt": "x", "token": "t", "host": "h", "released": False}

    def work_while_the_claim_is_stolen() -> None:
        with lease.hold(f"{bucket}/claim"):
            thief = S3Store(f"{bucket}/claim")
            claim = thief.read()
            assert claim is not None and thief.replace(stolen, claim.version)
            time.sleep(120)  # interrupted, or the test fails

    try:
        with pytest.raises(OutputTaken, match="it has stopped"):
            work_while_the_claim_is_stolen()
    finally:
        signal.signal(signal.SIGINT, before)
    left = S3Store(f"{bucket}/claim").read()
    assert left is not None and left.writer == "thief"


def test_a_store_that_fails_for_a_while_stops_nobody(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SECONDS", 6.0)
    monkeypatch.setattr(lease, "MARGIN", 1.0)
    answers = iter([OSError("no connection")] * 6 + [None] * 99)  # longer than the claim is trusted
    replace = S3Store.replace

    def sometimes(self: S3Store, body: dict[str, Any], version: str, late: bool = False) -> str | None:
        if (problem := next(answers)) is not None:
            raise problem
        return replace(self, body, version)

    monkeypatch.setattr(S3Store, "replace", sometimes)
    with lease.hold(f"{bucket}/claim") as held:
        time.sleep(5.5)
        assert (held.held, held.lost) == (False, False)
        time.sleep(2.5)
        assert held.held, "nobody has taken over meanwhile"
        assert held.confirm()


@contextlib.contextmanager
def _holding(claim: Path) -> Iterator[subprocess.Popen[str]]:
    body = f"with lease.hold({str(claim)!r}): print('in', flush=True); time.sleep(99)"
    code = f"from dermray import lease; import time\n{body}"
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == "in\n"
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
