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
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from dermray import patience, storage, store_errors
from dermray.claims import LocalStore, S3Store, Store
from dermray.storage import OutputTaken

SECONDS = 60.0  # a claim not renewed for this long is free
# A holder stops believing this much earlier: S3 tells times in whole seconds, so an age may be 2 s too high; the rest
# is for a write that was on its way when it stopped.
MARGIN = 10.0


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
        ours = claim is not None and claim.writer == self.writer  # written by a try whose answer was lost
        if claim is not None and not (claim.left or ours) and claim.age < self.seconds:
            raise OutputTaken(
                f"another run on {claim.host} wrote here {claim.age:.0f} s ago; wait for it, or {self.seconds:.0f} s "
                "if it was killed; or choose another output"
            )
        if claim is not None:
            # Where a claim only ran out, its writer may wake up and write on: this attempt gets a directory of its own.
            self.attempt = claim.attempt if claim.left or ours else self.writer[:8]
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

    def confirm(self) -> bool:
        """`renew`, tried for `patience.seconds()` where the store cannot just now; then raises what it raised."""
        return patience.tried(self.renew, store_errors.may_pass)

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
        patience.tried(lease.take, lambda error: isinstance(error, store_errors.Passing))
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
