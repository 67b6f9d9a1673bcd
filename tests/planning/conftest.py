"""Plans are made where nothing can be started, asked of a network, or written."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray


@pytest.fixture
def nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory to work in, which is empty afterwards; no Ray begins and no host is called."""

    def refuse(*arguments: Any, **_: Any) -> Any:
        raise AssertionError(f"a plan starts nothing: {arguments}")

    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield work
    assert list(work.iterdir()) == []
