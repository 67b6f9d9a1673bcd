"""Where an ingest goes on after it was stopped in each of its phases, and after its inputs were changed."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dermray import manifest
from dermray.config import load
from dermray.datasets import ingest
from dermray.manifest import Result
from dermray.records import read_columns
from tests.datasets.test_kills import rows_of, written

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]
FILES, PHANTOMS = 60, 40


class Stopped(Exception):
    """Instead of a kill."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    written(tmp_path, PHANTOMS, FILES)
    return tmp_path


def run(folder: Path, output: str = "out") -> Result:
    return ingest.run(load(ingest.IngestConfig, folder / "config.yaml", [f"output={folder}/{output}"]))


def stopped_at(name: str, folder: Path) -> None:
    """A start that ends where ingest would call `name`."""

    def stop(*_: Any, **__: Any) -> None:
        raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, name, stop)
        with pytest.raises(Stopped):
            run(folder)


def files(folder: Path, name: str) -> dict[str, int]:
    """Those below a folder of an unfinished ingest, and when they were written."""
    return {file.name: file.stat().st_mtime_ns for file in folder.glob(f"out/data-*/{name}/*")}


def test_after_each_phase_nothing_is_done_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = rows_of(run(folder, "undisturbed"))
    stopped_at("write_joined", folder)
    raw = files(folder, "raw")
    assert len(raw) >= 4 and not files(folder, "rows")
    stopped_at("difference", folder)
    joined = files(folder, "rows")
    assert files(folder, "raw") == raw, "nothing decoded again"
    lost = sorted(joined)[0]
    next(folder.glob(f"out/data-*/rows/{lost}")).unlink()
    (next(folder.glob("out/data-*/rows")) / f"{lost}.0.partial").write_bytes(b"of a killed worker")
    stopped_at("survey_rows", folder)
    now = files(folder, "rows")
    assert now.keys() == joined.keys() and [name for name in now if now[name] != joined[name]] == [lost]
    capsys.readouterr()
    result = run(folder)
    said = capsys.readouterr().out
    assert f"going on: {PHANTOMS + 2 * FILES + 1} rows (1 failed) are there from an earlier start" in said
    assert files(folder, "rows") == now and not files(folder, "raw")
    assert rows_of(result).equals(expected)


def test_an_edited_table_and_a_new_file_do_not_mix_with_what_was_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_at("write_joined", folder)
    before = files(folder, "raw")
    text = (folder / "table.csv").read_text()
    (folder / "table.csv").write_text(text.replace(",p1\n", ",p9999\n") + "\nalso gone.png,m,p3")
    shutil.copy(next(folder.glob("images/nv/*.png")), folder / "images" / "nv" / "new.png")
    stopped_at("write_joined", folder)
    assert "2 blocks of an earlier start were of other inputs" in capsys.readouterr().out
    after = files(folder, "raw")
    assert {n for n in before if n.startswith("000-")} == {n for n in after if n in before}, "phantoms are as they were"
    assert rows_of(run(folder)).equals(rows_of(run(folder, "anew")))


def test_images_that_were_missing_are_looked_for_again(folder: Path) -> None:
    stopped_at("write_joined", folder)
    before = files(folder, "raw")
    assert files(folder, "raw") == before
    shutil.copy(next(folder.glob("images/nv/*.png")), folder / "images" / "gone.png")
    (folder / "images" / "gone.png").rename(folder / "images" / "gone.png.kept")
    stopped_at("write_joined", folder)
    assert {n: t for n, t in files(folder, "raw").items() if n in before and n[:3] != "001"} == {
        n: t for n, t in before.items() if n[:3] != "001"
    }, "still missing"
    (folder / "images" / "gone.png.kept").rename(folder / "images" / "gone.png")
    rows = read_columns(f"{run(folder).data}/rows", ["source", "source_id", "status"]).to_pylist()
    status = {(row["source"], row["source_id"]): row["status"] for row in rows}
    assert status["table", "gone.png"] == "rejected", "a copy, and no longer missing"


def test_what_a_kill_after_the_manifest_left_is_removed(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "_tidy", lambda job, result: None)  # killed between the two
        result = run(folder)
    assert files(folder, "raw")
    assert run(folder).manifest == result.manifest and not files(folder, "raw")
