"""`dermray export` as it is typed: what is wrong is said before Ray starts, and a killed one goes on."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import call_cli, kill_family, run_cli
from tests.publishing.made import Asked, files, made, photograph, row


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and what it says, without Ray."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dermray.cluster.connect", lambda *_: pytest.fail("Ray was started"))
        code, _, error = call_cli(capsys, "export", *arguments)
    return code, error


def test_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    result, out = made(f"{tmp_path}/ingest", [row(0)]).uri, f"{tmp_path}/out"
    code, error = fails(capsys, result, out, "--format", "tfrecord")
    assert code == 2 and "invalid choice: 'tfrecord'" in error and "webdataset" in error
    code, error = fails(capsys, result, out, "format=tfrecord")
    assert code == 2 and "format" in error and "'webdataset', 'hf', 'llava' or 'sharegpt'" in error
    code, error = fails(capsys, f"{tmp_path}/none", out)
    assert code == 1 and "does not exist; run the stage before first" in error
    code, error = fails(capsys, result, out, "without=[patient, lesion]")
    assert code == 2 and "no columns that can be exported: ['lesion', 'patient']" in error
    code, error = fails(capsys, result, out, "without=[sample_id]")
    assert code == 2 and "every exported row has these" in error
    code, error = fails(capsys, result, out, "columns=[status]")
    assert code == 2 and "no columns that can be exported: ['status']" in error
    code, error = fails(capsys, result, out, "where={tone: [C]}")
    assert code == 2 and "no such columns: ['tone']" in error
    code, error = fails(capsys, result, out, "shard_mb=0")
    assert code == 2 and "shard_mb" in error
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    code, error = fails(capsys, result, f"{tmp_path}/full")
    assert code == 2 and "holds files that are no export" in error
    assert not Path(out).exists()


def test_results_of_other_stages(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from dermray import manifest
    from dermray.manifest import Rows

    for stage in ("sweep", "train"):
        with manifest.work(stage, f"{tmp_path}/{stage}", Asked(), {}) as work:
            work.commit(Rows(rows_in=1, ok=1, rejected=0, failed=0), 1)
    code, error = fails(capsys, f"{tmp_path}/sweep", f"{tmp_path}/out")
    assert code == 1 and "result of stage 'sweep', which has no images to export; expected one of ingest" in error
    code, error = fails(capsys, f"{tmp_path}/train", f"{tmp_path}/out", "--format", "parquet")
    assert code == 2 and "a trained LoRA is one file; --format and settings are for rows" in error


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_bytes(tmp_path: Path, local_ray: None) -> None:
    from dermray.config import ConfigError, validate
    from dermray.publishing import run
    from dermray.publishing.settings import PublishConfig

    rows = [row(n, image=photograph(n, 640, "PNG"), width=640, height=640) for n in range(60)]
    result, out = made(f"{tmp_path}/ingest", rows, per_file=10).uri, tmp_path / "out" / "data set"
    command = [sys.executable, "-m", "dermray.cli", "export", result, str(out), "--format", "webdataset", "shard_mb=1"]
    done = out / ".dermray" / "done"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(done.glob("*.json"))) < 3:
            time.sleep(0.01)
        kill_family(process.pid)
    noted = {path: path.stat().st_mtime_ns for path in done.glob("*.json")}
    assert 3 <= len(noted) < 60 and not (out / "README.md").exists() and not (out / "croissant.json").exists()
    first = {path: path.stat().st_ino for path in out.rglob("*") if path.suffix in (".tar", ".parquet")}
    left = out / "data" / "train-000000.tar.0123456789abcdef.partial"  # as a write leaves it that is cut short
    left.touch()
    again = run_cli(*command[3:])
    assert again.returncode == 0 and "60 images as" in again.stdout, again.stderr
    assert not left.exists()
    kept = [path for path, node in first.items() if path.stat().st_ino == node]
    assert len(kept) >= len(noted), "what was whole is not written again"
    whole = tmp_path / "whole" / "data set"
    config = {"result": result, "output": str(whole), "format": "webdataset", "shard_mb": 1}
    run.export(validate(PublishConfig, config))
    assert files(out) == files(whole)
    shutil.rmtree(out / ".dermray")
    with pytest.raises(ConfigError, match="holds files that are no export"):
        run.export(validate(PublishConfig, config | {"output": str(out)}))
