"""Show at the driver how far a job is: what its workers write, read every few seconds."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from dermray import storage

SECONDS_BETWEEN_READINGS = 5


@contextlib.contextmanager
def watched(progress: Callable[[], str]) -> Iterator[None]:
    """Print what `progress` says whenever it changes, while the body runs."""
    stop = threading.Event()

    def watch() -> None:
        shown = ""
        while not stop.wait(SECONDS_BETWEEN_READINGS):
            text = progress()
            if text and text != shown:
                print(f"      {text}", flush=True)
                shown = text

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def text_at(uri: str) -> Callable[[], str]:
    """What a worker last wrote to `uri`, or nothing."""

    def progress() -> str:
        try:
            return storage.read_bytes(uri).decode()
        except FileNotFoundError:
            return ""

    return progress


def rows_written(uri: str, total: int) -> Callable[[], str]:
    """How many rows lie in the Parquet files below `uri`."""
    counted: dict[str, int] = {}

    def progress() -> str:
        written = count_rows(uri, counted)
        return f"{written} of {total} rows written" if counted else ""

    return progress


def count_rows(uri: str, counted: dict[str, int] | None = None) -> int:
    """Rows in the Parquet files below `uri`, from their footers; `counted` remembers the files read before."""
    import pyarrow.parquet as pq

    counted = {} if counted is None else counted
    system, _ = storage.filesystem(uri)
    for file in storage.list_files(uri, ".parquet"):
        if file not in counted:
            with contextlib.suppress(OSError, ValueError):  # it is being written: counted at the next reading
                counted[file] = pq.read_metadata(file.removeprefix("s3://"), filesystem=system).num_rows
    return sum(counted.values())
