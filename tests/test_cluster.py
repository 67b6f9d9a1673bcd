"""Starting Ray; that it starts and is joined is what every slow test shows."""

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
