"""Notes that cannot be written cost no work, and are counted."""

import pickle
import threading
import time

import pytest

from dermray.bookkeeping import Notes, told


def test_what_fails_is_counted_and_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    written: list[int] = []

    def write(number: int) -> None:
        if number % 3 == 0:
            raise OSError(f"disk {number} is full")
        written.append(number)

    notes = Notes("curves")
    for number in range(10):
        notes.later(write, number)
    for _ in range(3):  # it does not wait where the last one failed, and 9 is the last
        notes.flush()
    wait_until_idle(notes)
    assert written == [1, 2, 4, 5, 7, 8], "in order"
    assert notes.lost == 4
    assert capsys.readouterr().err == (
        "dermray: warning: a note for curves is lost, the work goes on (OSError: disk 0 is full)\n"
    )
    assert notes.now(write, 10) and not notes.failing
    assert not notes.now(write, 12)
    assert notes.lost == 5


def test_a_writer_that_hangs_holds_up_nothing() -> None:
    free, written = threading.Event(), list[int]()
    notes, other = Notes("slow", room=3), Notes("other")
    notes.later(free.wait)
    while notes._waiting is not None and not notes._waiting.empty():
        time.sleep(0.001)
    began = time.monotonic()
    for number in range(5):
        notes.later(written.append, number)
    other.later(written.append, 100)
    other.flush()
    assert written == [100] and other.lost == 0
    notes.flush(0.05)
    assert time.monotonic() - began < 2
    assert notes.lost == 2 + 4, "two found no room; four still wait, and are lost if this is the end"
    free.set()
    wait_until_idle(notes)
    assert written == [100, 0, 1, 2] and notes.lost == 2


def test_they_travel_to_workers() -> None:
    notes: Notes = pickle.loads(pickle.dumps(Notes("ledger")))
    assert notes.kind == "ledger" and notes.lost == 0


def test_told() -> None:
    assert told({"MLflow": 3, "progress": 0, "TensorBoard": 1}) == "3 for MLflow, 1 for TensorBoard"
    assert told({"MLflow": 0}) == told({}) == ""


def wait_until_idle(notes: Notes) -> None:
    end = time.monotonic() + 10
    while notes.waiting and time.monotonic() < end:
        time.sleep(0.005)
    assert not notes.waiting
