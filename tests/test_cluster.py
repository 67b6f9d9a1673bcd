"""Starting Ray; that it starts and is joined is what every slow test shows."""

import logging
import os
import time
from types import SimpleNamespace
from typing import Any

import pytest

from dermray import cluster
from dermray.failures import plain_cause


class SlowRay:
    """Stands in for the module: its start fails, with these messages, before it succeeds."""

    def __init__(self, *messages: str) -> None:
        self.messages, self.started, self.shut = list(messages), 0, 0

    def init(self, **_: Any) -> None:
        self.started += 1
        if self.messages:
            raise Exception(self.messages.pop(0))

    def shutdown(self) -> None:
        self.shut += 1


LATE = "The current node timed out during startup. This could happen because the GCS has become overloaded."


def test_a_ray_that_is_late_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "LOCAL_ENVIRONMENT", {})
    late = SlowRay(LATE)
    cluster._start(late)
    assert (late.started, late.shut) == (2, 1) and "Trying once more" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="Ray did not start; .*timed out") as raised:
        cluster._start(SlowRay(LATE, LATE))
    assert plain_cause(raised.value).mendable, "the command line prints its message, without a traceback"
    broken = SlowRay("no memory")
    with pytest.raises(RuntimeError, match=r"Ray did not start; .*no memory"):
        cluster._start(broken)
    assert broken.started == 1


class ClosedRay:
    """Stands in for the module: a cluster that lets nobody in for a while."""

    def init(self, **_: Any) -> None:
        time.sleep(1)


def test_a_cluster_that_lets_nobody_in_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    cluster._start(ClosedRay())
    assert not capsys.readouterr().err, "not within seconds"
    monkeypatch.setattr(cluster, "LET_IN", 0.05)
    cluster._start(ClosedRay())
    said = capsys.readouterr().err
    assert "the Ray cluster at 10.0.0.1:6379 has not let this job in for 0 s" in said and "start it again" in said


def test_ray_s_notice_is_left_out_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    with cluster._without_notices():
        os.write(2, b"logging.cc: Set ray log level from environment variable RAY_BACKEND_LOG_LEVEL to 3\nno memory\n")
    with pytest.raises(ValueError, match="late"):
        _fails_within()
    assert capfd.readouterr().err == "no memory\nlast words\n"


@cluster._without_notices()
def _fails_within() -> None:
    os.write(2, b"last words\n")
    raise ValueError("late")


def test_ray_warns_of_many_processes_in_vain() -> None:
    from ray._private import worker

    assert callable(worker.print_to_stdstream), "this is what cluster._quieten replaces"
    shown: list[Any] = []
    show = cluster._without_pool_warnings(lambda data, ignore_prefix: shown.append(data["lines"]))
    show({"lines": ["WARNING: 8 PYTHON worker processes have been started on node"]}, ignore_prefix=False)
    show({"lines": ["Workers killed due to memory pressure"], "pid": "raylet"}, ignore_prefix=False)
    assert shown == [["Workers killed due to memory pressure"]]


@pytest.mark.parametrize(
    ("address", "logs", "quiet"),
    [
        (None, None, True),
        (None, "1", False),
        ("10.0.0.1:6379", None, False),
        ("10.0.0.1:6379", "0", True),
        ("10.0.0.1:6379", "1", False),
        (None, "0", True),
    ],
)
def test_a_joined_cluster_tells_of_its_workers_and_a_local_one_does_not(
    monkeypatch: pytest.MonkeyPatch, address: str | None, logs: str | None, quiet: bool
) -> None:
    for name, value in (("RAY_ADDRESS", address), (cluster.LOGS, logs)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    started: dict[str, Any] = {}
    monkeypatch.setattr(cluster, "LOCAL_ENVIRONMENT", {})
    cluster._start(SimpleNamespace(init=started.update))
    assert started["log_to_driver"] is not quiet and ("logging_level" in started) is quiet
    names = [*cluster.QUIET]
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.INFO)
        cluster._quieten()
        silenced = {name for name in names if logging.getLogger(name).level > logging.INFO}
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
    assert silenced == (set() if logs == "1" else set(names) if quiet else set(cluster.REPEATED))
