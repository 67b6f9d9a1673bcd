"""Rows, tokens and checkpoints, told to Ray."""

import contextlib
import time
from typing import Any

import httpx
import pyarrow as pa
import pytest
import ray
from ray.util import metrics

from dermray import counters

ROWS = pa.table({"status": ["ok", "failed", "ok"]})


def test_rows_are_added_by_stage_and_status(monkeypatch: pytest.MonkeyPatch) -> None:
    counters._counter.cache_clear()
    added: list[Any] = []
    monkeypatch.setattr(metrics.Counter, "inc", lambda self, value, tags=None: added.append((self.info, value, tags)))
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    counters.count_rows("ingest", ROWS)
    counters.count_rows("caption", ROWS.slice(0, 1))
    assert [(value, tags) for _, value, tags in added] == [
        (2, {"stage": "ingest", "status": "ok"}),
        (1, {"stage": "ingest", "status": "failed"}),
        (1, {"stage": "caption", "status": "ok"}),
    ]
    assert {(info["name"], info["tag_keys"]) for info, _, _ in added} == {("dermray_rows", ("stage", "status"))}


def test_tokens_are_added_both_ways_and_checkpoints_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    counters._counter.cache_clear()
    added: set[Any] = set()
    monkeypatch.setattr(
        metrics.Counter,
        "inc",
        lambda self, value, tags=None: added.add((self.info["name"], value, tuple((tags or {}).values()))),
    )
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    answered = {"tokens_in": pa.array([300, None, 310], pa.int32()), "tokens_out": pa.array([20, None, 5], pa.int32())}
    counters.count_rows("caption", pa.table(ROWS.to_pydict() | answered))
    counters.count_rows("caption", pa.table({"status": ["failed"], "tokens_in": pa.array([None], pa.int32())}))
    counters.count_checkpoint()
    assert {each for each in added if each[0] != "dermray_rows"} == {
        ("dermray_tokens", 610, ("caption", "in")),
        ("dermray_tokens", 25, ("caption", "out")),
        ("dermray_checkpoints", 1, ()),
    }


def test_without_ray_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(counters, "_counter", None)
    counters.count_rows("ingest", ROWS)
    counters.count_checkpoint()


@pytest.mark.slow
def test_a_node_tells_prometheus(local_ray: None) -> None:
    """What a worker counts stands at its node's address for metrics."""
    counters._counter.cache_clear()
    [node] = ray.nodes()
    address, line, seen = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", "", ""
    end = time.monotonic() + 60
    counters.count_rows("probe", ROWS)
    while not line and time.monotonic() < end:
        time.sleep(1)
        with contextlib.suppress(httpx.HTTPError):
            seen = httpx.get(address, timeout=10).text
        line = next((line for line in seen.splitlines() if 'stage="probe",status="ok"' in line), "")
    assert line.startswith("ray_dermray_rows_total{") and line.endswith(" 2.0"), seen[-2000:]
