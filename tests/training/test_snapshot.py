"""Ray's list of checkpoints after a full disk, and what a kill left beside them."""

import json
from pathlib import Path

import pytest

from dermray.train_loop import snapshot
from dermray.train_loop.snapshot import KEPT, RUN, SNAPSHOT


def with_checkpoints(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / RUN / name).mkdir(parents=True)
        (directory / RUN / name / "state.pt").write_bytes(b"x")
    return directory / RUN


def listing(*names: str) -> str:
    return json.dumps({"checkpoint_results": [{"checkpoint_dir_name": name} for name in names]})


@pytest.mark.parametrize("cut", [b"", b'{"checkpoint_resul', listing("checkpoint_2").encode()[:-1]])
def test_a_list_that_was_cut_short_is_the_one_before_it(tmp_path: Path, cut: bytes) -> None:
    run = with_checkpoints(tmp_path, "checkpoint_1", "checkpoint_2")
    (run / SNAPSHOT).write_text(listing("checkpoint_1"))
    snapshot.keep(str(tmp_path))
    (run / SNAPSHOT).write_bytes(cut)
    snapshot.keep(str(tmp_path))  # nothing to keep of this one
    snapshot.mend(str(tmp_path))
    assert snapshot.read(str(tmp_path)) == json.loads(listing("checkpoint_1"))
    assert (run / "checkpoint_1").exists() and not (run / "checkpoint_2").exists()


@pytest.mark.parametrize("kept", [None, listing("checkpoint_0")])  # which was removed since
def test_without_a_list_training_begins_anew(
    tmp_path: Path, kept: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = with_checkpoints(tmp_path, "checkpoint_1")
    (run / SNAPSHOT).write_bytes(b"")
    if kept:
        (run / KEPT).write_text(kept)
    snapshot.mend(str(tmp_path))
    assert "training begins anew" in capsys.readouterr().out
    assert not (run / SNAPSHOT).exists() and not (run / "checkpoint_1").exists()


def test_a_whole_list_stays_and_what_it_does_not_name_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot.mend(str(tmp_path))  # a first start has neither
    run = with_checkpoints(tmp_path, "checkpoint_1", "checkpoint_2", "checkpoint_3")
    (run / SNAPSHOT).write_text(listing("checkpoint_1", "checkpoint_2"))
    snapshot.mend(str(tmp_path))
    assert snapshot.read(str(tmp_path)) == json.loads(listing("checkpoint_1", "checkpoint_2"))
    assert sorted(path.name for path in run.glob("checkpoint_?")) == ["checkpoint_1", "checkpoint_2"]
    assert capsys.readouterr().out == ""
