"""Peak memory, held to what the kernel says."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from dermray import memory, nodes, storage
from dermray.memory import HERE, PeakMemory, _bytes_of, workers_bytes

OF_A_FAMILY = """
import subprocess, sys
from dermray.memory import proportional_bytes
before = proportional_bytes()
script = "x = b'y' * (50 << 20); print('ready', flush=True); input()"
child = subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True)
assert child.stdout.readline() == "ready\\n"
own = b"y" * (50 << 20)
print(proportional_bytes() - before)
child.communicate("")
"""


def test_memory_of_a_process_and_its_children_is_counted() -> None:
    """In a process of its own: what other tests left in this one may be freed at any time."""
    grown = subprocess.run([sys.executable, "-c", OF_A_FAMILY], check=True, stdout=-1, stderr=-3, text=True).stdout
    assert 100 << 20 <= int(grown) <= 140 << 20


def test_a_process_that_has_ended_has_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as child:
        process = psutil.Process(child.pid)
        assert child.stdin and _bytes_of(process) > 0
        child.stdin.close()
    assert _bytes_of(process) == 0


def test_a_peak_outlives_a_storage_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readings, fails = iter([100, 300, 200, 400, 0]), iter([False, True, False])
    write, done = storage.write_bytes, []
    monkeypatch.setattr(memory, "SECONDS_BETWEEN_READINGS", 0.001)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def reading() -> int:
        done.append(next(readings, 0))
        return done[-1]

    def sometimes(uri: str, data: bytes) -> None:
        if next(fails):
            raise OSError("503 Slow Down")
        write(uri, data)

    monkeypatch.setattr(memory, "proportional_bytes", reading)
    monkeypatch.setattr(storage, "write_bytes", sometimes)
    with PeakMemory(str(tmp_path)) as peak:
        while 0 not in done:
            time.sleep(0.001)
    assert (peak.peak, peak.measured) == (400, HERE)
    assert json.loads((tmp_path / "memory.json").read_text()) == {"peak_bytes": 400, "measured": HERE}
    again = PeakMemory(str(tmp_path))
    assert (again.peak, again.measured) == (400, HERE)
    assert capsys.readouterr().err.count("a note for the peak of memory is lost") == 1


def test_what_a_raylet_started_is_counted_on_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "x = b'y' * (50 << 20); print('ready', flush=True); input()"
    monkeypatch.setenv("RAY_RAYLET_PID", str(os.getpid()))
    before = workers_bytes()
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1) as child:
        assert child.stdin and child.stdout and child.stdout.readline() == b"ready\n"
        assert 50 << 20 <= workers_bytes() - before <= 90 << 20
        child.stdin.close()


def test_a_node_with_free_resources_alone_is_not_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import state

    total = {"idle": {"CPU": 4.0, "GPU": 1.0}, "busy": {"CPU": 4.0, "GPU": 1.0}, "new": {"CPU": 4.0}}
    free = {"idle": {"CPU": 4.0, "GPU": 1.0}, "busy": {"CPU": 4.0, "GPU": 0.5}}
    monkeypatch.setattr(state, "total_resources_per_node", lambda: total)
    monkeypatch.setattr(state, "available_resources_per_node", lambda: free)
    assert memory.busy_nodes() == {"busy", "new"}


def test_the_memory_of_a_cluster_is_that_of_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, Any] = {"a": 5 << 30, "b": 7 << 30, "c": TimeoutError("no answer within 180 s")}
    monkeypatch.setattr(nodes, "ask_all", lambda function, among: answers if among == {"a"} else {})
    monkeypatch.setattr(memory, "busy_nodes", lambda: {"a"})
    monkeypatch.delenv("RAY_RAYLET_PID", raising=False)
    monkeypatch.setattr(memory, "proportional_bytes", lambda: 1 << 30)  # of this process, which other tests made large
    peak, measured = memory.cluster_bytes()
    assert peak == 13 << 30
    assert measured == "the driver, and what Ray started on 2 of 3 busy nodes, for other jobs too"
    monkeypatch.setenv("RAY_RAYLET_PID", "1")
    assert memory.cluster_bytes()[0] == 12 << 30, "a submitted job is counted once, on its node"
