"""A graph with two branches as users run it: side by side, killed, started again; then what its report shows."""

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from dermray import manifest
from dermray.pipeline.processes import CHILD
from tests.conftest import call_cli, kill_family
from tests.quickstart import ROOT, checkpoint_kept, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
MODEL = {"image_size": 32, "width": 32, "blocks": 1, "stem_width": 8}
LOOP = {"steps": 400, "batch_size": 8, "checkpoint_every": 20}
BRANCHES = ("plain", "turned")


def config_of(small_run: Path, output: Path) -> dict[str, Any]:
    """Two generators of the rows and captions that the session has already, and images of one of them."""
    train = {"stage": "train", "rows": {"from": "said"}, "model": MODEL, "loop": LOOP}
    stages: dict[str, Any] = {
        "images": {"stage": "generate", "generator": {"from": "plain"}, "rows": {"from": "said"}, "count": 12,
                   "sampling_steps": 2, "batch_size": 6, "gate": {"false_rate": 0, "training_steps": 10, "planted": 2}},
        "plain": train | {"flips": False},
        "turned": train,
        "said": {"stage": "caption", "output": f"{small_run}/caption", "rows": {"from": "ingest"},
                 "captioner": f"{small_run}/model"},
        "ingest": {"output": f"{small_run}/ingest", "sources": [{"source": "phantom", "count": 160, "size": 32}]},
    }  # fmt: skip
    return {"output": str(output), "title": "two branches", "parallel": 2, "stages": stages}


def kill_leader_alone(run: subprocess.Popen[bytes]) -> None:
    """By SIGKILL, of which it hears nothing. Its stages must end too: the next start needs their places."""
    family = psutil.Process(run.pid).children(recursive=True)
    stages = [process for process in family if CHILD in process.cmdline()]
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(stages, timeout=60)
    for process in family:  # what Ray has started ends by itself, later
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=15)
    assert len(stages) == 2 and not alive


@pytest.mark.soak
def test_two_branches_side_by_side_outlive_a_kill(small_run: Path, tmp_path: Path) -> None:
    run, file, log = tmp_path / "run", tmp_path / "two.yaml", tmp_path / "first.log"
    file.write_text(yaml.safe_dump(config_of(small_run, run)))
    command = [sys.executable, "-m", "dermray.cli", "run", "--config", str(file)]

    def both_at_work() -> bool:
        begun = all(list((run / name).glob("begun-*.json")) for name in BRANCHES)
        return begun and any(checkpoint_kept(run / name) for name in BRANCHES)

    with log.open("w") as said:
        first = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_for(lambda: both_at_work() or first.poll() is not None, 600)
        assert first.poll() is None, log.read_text()
        kill_leader_alone(first)
    finally:
        kill_family(first.pid)
        first.wait()
    assert not any((run / name / "manifest.json").exists() for name in BRANCHES), "both were at work at once"

    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert second.returncode == 0, log.read_text() + second.stdout + second.stderr
    for name in ("ingest", "said"):
        assert re.search(rf"\] {name}: .*already done", second.stdout)
    trained = [manifest.read(str(run / name)).manifest.metrics["training"] for name in BRANCHES]
    assert max(training["resumed_from"] for training in trained) >= LOOP["checkpoint_every"]
    assert "plain | " in second.stdout and "turned | " in second.stdout, "each line says whose it is"

    summary = json.loads((run / "summary.json").read_text())["stages"]
    assert [stage["stage"] for stage in summary.values()] == ["ingest", "caption", "train", "generate", "train"]
    assert summary["plain"]["loss"] != summary["turned"]["loss"] and summary["images"]["rows_in"] == 12
    page = (run / "report.html").read_text()
    assert page.count("The generator&#39;s training") == 2 or page.count("The generator's training") == 2
    assert page.count('class="graph"') == 1 and ">turned</text>" in page and "stroke-dasharray" not in page


def test_a_branch_alone_and_one_that_fails(small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "two.yaml"
    config = config_of(small_run, tmp_path / "run") | {"parallel": 1}
    config["stages"]["turned"]["loop"] = config["stages"]["plain"]["loop"] = {"steps": 2, "batch_size": 8}
    file.write_text(yaml.safe_dump(config))
    code, out, error = call_cli(capsys, "run", "--config", str(file), "--until", "plain")
    assert code == 0, error
    assert re.search(r"\[3/3\] plain \(train\) ...", out) and not (tmp_path / "run" / "turned").exists()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "did not include them: images, turned" in page and page.count("stroke-dasharray") == 2

    manifest_of_images = tmp_path / "run" / "images" / "manifest.json"
    manifest_of_images.parent.mkdir()
    manifest_of_images.write_text((tmp_path / "run" / "plain" / "manifest.json").read_text())  # another stage's result
    code, _, error = call_cli(capsys, "run", "--config", str(file), "stages.turned.loop.steps=3")
    assert code == 1 and "holds the result of other work (stage 'train', not 'generate')" in error
    assert "dermray: images failed; not run: turned" in error
    code, out, error = call_cli(capsys, "run", "--config", str(file), "--only", "turned", "stages.turned.loop.steps=3")
    assert code == 0 and "[1/1] turned (train) ..." in out, error
    page = (tmp_path / "run" / "report.html").read_text()
    assert "were there from earlier ones: ingest, said, plain.<" in page and "did not include them: images.<" in page
