"""A GPU that is too small is refused by what the nodes report, before anything is read."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dermray import gpus, manifest
from dermray.captioning.run import CaptionConfig
from dermray.config import ConfigError, load, preset, validate
from dermray.training import forecast, gpu_room, run
from dermray.training.gpu_room import require_room
from dermray.training.settings import TrainConfig

GIB = 1 << 30
ON_GPU = ["loop.workers=1", "loop.gpus_per_worker=1"]


def nano(*changes: str) -> TrainConfig:
    return load(TrainConfig, preset("train/latent_diffusion_nano"), [*ON_GPU, *changes])


def reported(monkeypatch: pytest.MonkeyPatch, *memories: int) -> None:
    """What the cluster's GPUs have."""
    monkeypatch.setattr(gpu_room, "gpu_memories", lambda: list(memories))


@pytest.fixture
def needs_20_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is trained."""
    peak = int((20 * GIB - forecast.CONTEXT) / forecast.FRAGMENTS)
    memory = forecast.Memory(weights=0, gradients=0, optimizer=0, averages=0, activations=0, peak=peak)
    bill = forecast.Forecast(
        trained=0, frozen=0, flops=0, memory=memory, checkpoint=0, sample=0, images=None, steps=None
    )
    monkeypatch.setattr(forecast, "of_captions", lambda *_: bill)


def test_only_where_none_is_large_enough_training_is_refused(
    needs_20_gib: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reported(monkeypatch, 16 * GIB, 8 * GIB)
    with pytest.raises(
        ConfigError, match=r"needs 20 GiB .* \(the largest of the cluster\) has 16 GiB; give loop\.gradient_check"
    ):
        require_room(nano())
    reported(monkeypatch, 24 * GIB, 8 * GIB)
    require_room(nano())
    assert "warning: a worker needs 20 GiB" in (said := capsys.readouterr().out) and "smallest" in said
    reported(monkeypatch, 24 * GIB)
    require_room(nano())
    reported(monkeypatch)
    require_room(nano())
    assert capsys.readouterr().out == "", "large enough, or not known"


def test_nobody_is_asked_where_there_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_room, "gpu_memories", lambda: pytest.fail("nodes were asked"))
    require_room(nano("loop.gpus_per_worker=0"))
    require_room(nano("check_memory=false"))


def test_a_forecast_that_fails_stops_no_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: Any) -> None:
        raise NotImplementedError("no such operation")

    reported(monkeypatch, GIB)
    monkeypatch.setattr(forecast, "of_captions", fails)
    require_room(nano())
    assert "no forecast of the GPU memory (NotImplementedError: no such operation)" in capsys.readouterr().out


def test_a_training_is_refused_before_its_images_are_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least GPU that there could be has no room for CUDA itself."""
    captions = validate(CaptionConfig, {"output": f"{tmp_path}/caption", "rows": "x", "captioner": "x/y"})
    with manifest.work("caption", captions.output, captions, {}) as work:
        work.commit(manifest.Rows(rows_in=0, ok=0, rejected=0, failed=0), 0)
    monkeypatch.setattr("dermray.cluster.connect", lambda _: None)
    monkeypatch.setattr(run, "_counted", lambda *_: pytest.fail("rows were read"))
    reported(monkeypatch, GIB // 2)
    with pytest.raises(ConfigError, match="a worker needs"):
        run.run(nano(f"output={tmp_path}/train", f"rows={tmp_path}/caption"))
    assert not list(tmp_path.glob("train/data-*/encoded"))


def test_nodes_without_gpus_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": "a", "Alive": True, "Resources": {"CPU": 4.0}}])
    monkeypatch.setattr(gpus, "ask_all", lambda *_, **__: pytest.fail("nodes were asked"))
    assert gpus.gpu_memories() == []


DRIVER = """
from dermray.cluster import prepare_environment
prepare_environment()
import ray
from dermray import gpus
gpus.memories_here = lambda: [24 << 30, 16 << 30]
ray.init("local", num_cpus=1, num_gpus=2, include_dashboard=False, log_to_driver=False)
print(gpus.gpu_memories())
"""


@pytest.mark.slow
def test_nodes_that_have_gpus_are_asked() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", DRIVER]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == str([24 * GIB, 16 * GIB])
