"""Show at the driver how far a job is: what its workers write, read every few seconds, and a line a minute at least."""

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from dermray import storage
from dermray.columns import Tally, add, add_one

SECONDS_BETWEEN_READINGS = 5
SHARE_OF_READING = 0.05  # of the time, if a minute's line is not late by it: listing 10^7 rows' files takes seconds
HEARTBEAT = 60.0  # seconds until a line is printed that says nothing new
WINDOW = 300.0  # seconds that a rate is taken over,
FEWEST_STEPS = 4  # or longer where less often more is done than so many times in them
FILES_AT_A_TIME, FILES_HELD = 32, 128


@dataclass(frozen=True)
class Progress:
    """How far a stage is."""

    done: int
    total: int | None
    what: str = "rows written"
    lost: Counter[str] = field(default_factory=Counter)  # of those done: how many, by the reason why they are not ok
    engines: int | None = None  # alive


Reading = Progress | str  # a text where there is nothing to count; an empty one where there is nothing yet


class Heartbeat:
    """Readings to lines: one for what is new, and one every HEARTBEAT seconds in any case."""

    def __init__(self, now: float) -> None:
        self.said: Reading = ""
        self.changed = self.printed = now
        self.steps: deque[tuple[float, int]] = deque()  # when more was done, and how much that was

    def line(self, reading: Reading, now: float) -> str:
        """What to print at `now` (monotonic seconds); empty for nothing."""
        news = reading not in ("", self.said)
        if isinstance(reading, Progress):
            self._step(reading.done, now)
        elif news and not self.steps:
            self.changed = now
        if not news and now - self.printed < HEARTBEAT:
            return ""
        self.said, self.printed = reading or self.said, now
        text = reading if isinstance(reading, str) else _told(reading, self._rate(now))
        age = now - self.changed
        return (text or "nothing to count yet") + (f", nothing new for {duration(age)}" if age >= HEARTBEAT else "")

    def _step(self, done: int, now: float) -> None:
        if not self.steps or done != self.steps[-1][1]:
            self.changed = now
            self.steps.append((now, done))
        while len(self.steps) > FEWEST_STEPS and now - self.steps[0][0] > WINDOW:
            self.steps.popleft()

    def _rate(self, now: float) -> float | None:
        """A second, over the last minutes; what was done before this start does not count.

        Blocks come in steps, so it is taken up to the last one, or later where the next is late."""
        (first, begun), (last, done), number = self.steps[0], self.steps[-1], len(self.steps)
        if number == 1:
            return None
        return (done - begun) / max(last - first, now - first - (last - first) / (number - 1))


def _told(progress: Progress, rate: float | None) -> str:
    done, total = progress.done, progress.total
    parts = [f"{done} {progress.what}" if total is None else f"{done} of {total} {progress.what}"]
    if progress.lost:
        [(reason, number)] = progress.lost.most_common(1)
        parts.append(f"{progress.lost.total()} of them not ok (most of them: {reason}, {number})")
    if rate is not None:
        parts.append(f"{rate:.3g}/s")
    if rate and total is not None and total > done:
        parts.append(f"{duration((total - done) / rate)} left")
    if progress.engines is not None:
        parts.append(f"{progress.engines} {'engine' if progress.engines == 1 else 'engines'} alive")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """For people."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if seconds < 120 else f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"


@contextlib.contextmanager
def watched(read: Callable[[], Reading]) -> Iterator[None]:
    """Print how far the job is while the body runs. What `read` raises is printed too: the body goes on."""
    stop = threading.Event()

    def watch() -> None:
        heartbeat, pause = Heartbeat(time.monotonic()), float(SECONDS_BETWEEN_READINGS)
        while not stop.wait(pause):
            began = time.monotonic()
            try:
                reading = read()
            except Exception as error:  # S3 may be out of reach for a while, and this thread must outlive it
                reading = f"cannot see how far it is ({type(error).__name__}: {error})"
            if line := heartbeat.line(reading, time.monotonic()):
                print(f"      {line}", flush=True)
            pause = min(HEARTBEAT, max(SECONDS_BETWEEN_READINGS, (time.monotonic() - began) / SHARE_OF_READING))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def text_at(uri: str) -> Callable[[], Reading]:
    """What a worker last wrote to `uri`, or nothing."""

    def read() -> Reading:
        try:
            return storage.read_bytes(uri).decode()
        except FileNotFoundError:
            return ""

    return read


def busy(with_what: str) -> Callable[[], Reading]:
    """One piece of work that says nothing until it is done: for how long it has been going on, in minutes."""
    began = time.monotonic()

    def read() -> Reading:
        minutes = int((time.monotonic() - began) / 60)
        return f"{with_what}, for {minutes} min" if minutes else ""

    return read


def rows_written(uri: str, total: int | None, engines: tuple[str, ...] = ()) -> Callable[[], Reading]:
    """How many rows lie in the Parquet files below `uri`, and why some are not ok.

    Args:
        engines: class names of what Ray Data's actors run, where these are to be counted.
    """
    files = WrittenRows(uri)

    def read() -> Reading:
        found = files.statuses()
        if not found:
            return ""
        lost = Counter[str]()
        for (status, reason), number in found.items():
            if status != "ok":
                lost[reason or status] += number
        return Progress(found.total(), total, lost=lost, engines=actors_alive(engines) if engines else None)

    return read


def files_written(uri: str, suffix: str, what: str, total: int | None = None) -> Callable[[], Reading]:
    """How many files with this suffix lie below `uri`."""

    def read() -> Reading:
        number = len(storage.list_files(uri, suffix))
        return Progress(number, total, what) if number else ""

    return read


def count_rows(uri: str) -> int:
    """Rows in the Parquet files below `uri`, from their footers."""
    return WrittenRows(uri).statuses().total()


class WrittenRows:
    """The Parquet files below `uri`, each read once."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.read: set[str] = set()
        self.found: Tally = Counter()

    def statuses(self) -> Tally:
        """How often each (status, kind of reason) occurs. Footers are read, many at a time, and these two columns only
        where some row is not ok."""
        new = [file for file in storage.list_files(self.uri, ".parquet") if file not in self.read]
        with ThreadPoolExecutor(FILES_AT_A_TIME) as pool:
            for start in range(0, len(new), FILES_HELD):
                files = new[start : start + FILES_HELD]
                for file, found in zip(files, pool.map(_statuses, files), strict=True):
                    if found is not None:
                        self.read.add(file)
                        for what, number in found.items():
                            add_one(self.found, what, number)
        return self.found


def _statuses(file: str) -> Tally | None:
    """Of one file; None while it is being written."""
    try:
        rows = storage.open_parquet(file)
    except (OSError, ValueError):
        return None
    with rows:
        if _all_ok(rows.metadata):
            return Counter({("ok", None): rows.metadata.num_rows})
        found: Tally = Counter()
        for batch in rows.iter_batches(columns=["status", "reason"]):
            add(found, batch.select(["status", "reason"]))
    return found


def _all_ok(footer: Any) -> bool:
    """Whether the statistics of the column `status` say so."""
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    # not by `footer.schema`, which refers to the footer and back: both would wait for the garbage collector
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    parts = (column.statistics for column in columns if column.path_in_schema == "status")
    return all(part is not None and part.has_min_max and part.min == part.max == "ok" for part in parts)


def actors_alive(classes: tuple[str, ...]) -> int | None:
    """How many actors of this job Ray Data has given one of these classes to; None where Ray does not say."""
    import ray
    from ray._private import state  # what the state API asks needs a dashboard, which a local Ray has not

    if not ray.is_initialized():  # a question asked before `connect` is done would join whatever Ray runs here
        return None
    try:
        job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
        alive = state.actors(job_id=job, actor_state_name="ALIVE").values()
        return sum(any(f"({name})" in actor["ActorClassName"] for name in classes) for actor in alive)
    except Exception:  # not public: whatever another version says, the rest of the line is worth having
        return None
