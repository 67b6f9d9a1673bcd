"""A tuning under Ray that dies by SIGKILL, with all that it started, and ends with an uninterrupted one's bits."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dermray import manifest
from dermray.manifest import Result
from tests.conftest import call_cli
from tests.quickstart import killed_on_the_way

STEPS = 6
# Answers to held-out images are written after the checkpoint of step 2: such long ones take longer than a kill.
ENDLESS = ("answers=4", "answer_tokens=50000")


@pytest.mark.slow
@pytest.mark.soak
def test_killed_in_its_midst_it_ends_with_the_same_bits(
    small_run: Path, models: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = {"steps": STEPS, "batch_size": 6, "accumulate": 2, "checkpoint_every": 2, "log_every": 1,
            "pictures_every": 2, "cpus_per_worker": 0.5}  # fmt: skip
    given = {"rows": f"{small_run}/caption", "base": str(models("nano")), "licence": "own", "image_side": 32,
             "max_length": 256, "lora": {"rank": 4, "dropout": 0.1}, "learn": {"answers": "caption"}, "samples": 24,
             "validation_samples": 4, "answers": 1, "answer_tokens": 4, "loop": loop}  # fmt: skip
    (tmp_path / "tune.yaml").write_text(json.dumps(given | {"output": "given on the command line"}))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    settings = ["tune-vlm", "--config", str(tmp_path / "tune.yaml")]
    command = [sys.executable, "-m", "dermray.cli", *settings, f"output={killed}", *ENDLESS]
    killed_on_the_way(command, killed, tmp_path / "log", 400)
    assert not list(killed.rglob("manifest.json"))
    results = list[Result]()
    for output in (killed, whole):
        code, said, error = call_cli(capsys, *settings, f"output={output}")
        assert code == 0, error
        assert (f"going on from step 2 of {STEPS}" in said) == (output == killed)
        results.append(manifest.read(str(output), "tune-vlm"))
    resumed, uninterrupted = (result.manifest.metrics["training"] for result in results)
    assert (resumed["resumed_from"], uninterrupted["resumed_from"]) == (2, 0)
    for name in ("losses", "validation_losses"):
        assert resumed[name] == uninterrupted[name]
    weights = [Path(result.data, "model", "adapter_model.safetensors").read_bytes() for result in results]
    assert weights[0] == weights[1]
