"""Starting Ray; that it starts and is joined is what every slow test shows."""

import os
from typing import Any

import pytest

from dermray import cluster


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
    with pytest.raises(Exception, match="timed out"):
        cluster._start(SlowRay(LATE, LATE))
    broken = SlowRay("no memory")
    with pytest.raises(Exception, match="no memory"):
        cluster._start(broken)
    assert broken.started == 1


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
