import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray import manifest, storage
from dermray.config import Config
from dermray.manifest import Rows
from dermray.records import STATUSES


class Settings(Config):
    output: str
    rows: str = "somewhere"
    steps: int = 1


def finish(output: str, steps: int = 1) -> manifest.Result:
    with manifest.work("caption", output, Settings(output=output, steps=steps), {}) as work:
        if work.finished:
            return work.finished
        storage.write_bytes(f"{work.data}/x", b"x")
        return work.commit(Rows(rows_in=3, ok=1, rejected=2, failed=0))


def test_the_same_work_is_done_once_and_other_work_is_refused(place: str) -> None:
    first = finish(f"{place}/out")
    assert finish(f"{place}/out").manifest == first.manifest
    with pytest.raises(storage.OutputTaken, match="steps: 1 then, 2 now"):
        finish(f"{place}/out", steps=2)


def test_a_result_can_be_moved(tmp_path: Path) -> None:
    made = finish(str(tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    moved = manifest.read(str(tmp_path / "b"), "caption")
    assert moved.manifest == made.manifest
    assert storage.read_bytes(f"{moved.data}/x") == b"x"
    assert finish(str(tmp_path / "b")).manifest == made.manifest


def test_no_manifest_no_result(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist; run the caption stage first"):
        manifest.read(str(tmp_path / "none"), "caption")
    with (
        pytest.raises(RuntimeError, match="boom"),
        manifest.work("caption", str(tmp_path / "out"), Settings(output="x"), {}),
    ):
        raise RuntimeError("boom")
    with pytest.raises(FileNotFoundError, match="no finished result"):
        manifest.read(str(tmp_path / "out"), "caption")


def test_another_stages_result_is_refused(tmp_path: Path) -> None:
    finish(str(tmp_path / "out"))
    with pytest.raises(ValueError, match="stage 'caption', expected one of 'train'"):
        manifest.read(str(tmp_path / "out"), "train")


def test_two_writers_at_once(place: str) -> None:
    settings = Settings(output=f"{place}/out")
    with manifest.work("caption", settings.output, settings, {}):
        with (
            pytest.raises(storage.OutputTaken, match="another run"),
            manifest.work("caption", settings.output, settings, {}),
        ):
            pass


def test_a_late_writer_cannot_replace_a_manifest(place: str) -> None:
    settings = Settings(output=f"{place}/out")
    with manifest.work("caption", settings.output, settings, {}) as work:
        work.commit(Rows(rows_in=0, ok=0, rejected=0, failed=0))
        with pytest.raises(storage.OutputTaken, match="first"):
            work.commit(Rows(rows_in=1, ok=1, rejected=0, failed=0))


def test_relative_outputs_are_refused_inside_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with (
        pytest.raises(ValueError, match="thrown away"),
        manifest.work("caption", "runs/x", Settings(output="runs/x"), {}),
    ):
        pass


@given(
    st.dictionaries(st.tuples(st.sampled_from(STATUSES), st.one_of(st.none(), st.text(max_size=4))), st.integers(1, 9))
)
def test_no_row_is_lost_in_counting(counts: dict[tuple[str, str | None], int]) -> None:
    rows = Rows.count(Counter(counts))
    assert rows.rows_in == sum(counts.values()) == rows.ok + rows.rejected + rows.failed
