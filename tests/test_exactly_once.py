"""What was written against what went in, by ids."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dermray import manifest, storage
from dermray.captioning.resume import require_each_once
from dermray.config import Config
from dermray.exactly_once import Ids, difference
from dermray.manifest import Rows

NAMES = [f"row {i}" for i in range(1000)]


def write(uri: str, *parts: Sequence[str | None], **columns: Any) -> Ids:
    storage.make_directory(uri)
    system, path = storage.filesystem(uri)
    for number, names in enumerate(parts):
        pq.write_table(
            pa.table({"id": pa.array(names, pa.string())} | columns), f"{path}/{number}.parquet", filesystem=system
        )
    return Ids(uri, ("id",))


def test_order_and_files_do_not_matter(place: str) -> None:
    asked = write(f"{place}/in", NAMES)
    assert difference(asked, write(f"{place}/out", NAMES[:300:-1], NAMES[:301])) is None


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ([*NAMES[:7], *NAMES[8:]], "1 of 1000 rows are missing, such as row 7"),
        ([*NAMES, "row 3"], "1 occur more than once, such as row 3"),
        ([*NAMES[:-1], "row 3"], "1 of 1000 rows are missing, such as row 999; 1 occur more than once, such as row 3"),
        ([*NAMES, "guest"], "1 are no rows of .*/in, such as guest"),
        (NAMES[20:], "20 of 1000 rows are missing, such as row 0, row 1, row 2, row 3, row 4$"),
        ([], "1000 of 1000 rows are missing, such as row 0, "),
    ],
)
def test_what_is_missing_double_or_foreign_is_named(tmp_path: Path, written: list[str], text: str) -> None:
    """The third has as many rows as it should: counts alone would see nothing."""
    found = difference(write(f"{tmp_path}/in", NAMES), write(f"{tmp_path}/out", written))
    assert found is not None and re.search(text, found.text), found


def test_ids_of_several_columns_are_not_run_together(tmp_path: Path) -> None:
    two = ("id", "other")
    write(f"{tmp_path}/in", ["a b", "a"], other=["c", "b c"])
    write(f"{tmp_path}/out", ["a b", "a b"], other=["c", "c"])
    found = difference(Ids(f"{tmp_path}/in", two), Ids(f"{tmp_path}/out", two))
    assert found is not None and (found.missing, found.double) == (1, 1)
    assert difference(Ids(f"{tmp_path}/in", two), Ids(f"{tmp_path}/in", two)) is None


def test_only_rows_that_count_are_expected(tmp_path: Path) -> None:
    write(f"{tmp_path}/in", ["a", "b", None], status=["ok", "rejected", "failed"])
    expected = Ids(f"{tmp_path}/in", ("id",), pc.field("status") == "ok")
    assert difference(expected, write(f"{tmp_path}/out", ["a"])) is None


def test_an_input_whose_ids_occur_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 ids occur more than once, such as row 5; make it again"):
        difference(write(f"{tmp_path}/in", [*NAMES, "row 5"]), write(f"{tmp_path}/out", NAMES))


def test_checkpoints_then_say_what_is_there(place: str) -> None:
    """Here they hold rows that are lost and lack one that is there: the next start does what is missing, no more."""
    asked, written = write(f"{place}/in", NAMES[:9]), write(f"{place}/out", NAMES[:7])
    write(f"{place}/checkpoint", NAMES[1:6], NAMES[6:9])
    with pytest.raises(
        RuntimeError, match="2 of 9 rows are missing, such as row 7, row 8. No manifest .* start again: wh"
    ):
        require_each_once(asked, written, [f"{place}/checkpoint"])
    assert difference(written, Ids(f"{place}/checkpoint", ("id",))) is None
    write(f"{place}/out", NAMES[:9])
    require_each_once(asked, written, [f"{place}/checkpoint"])


def test_rows_that_are_there_twice_are_not_gone_on_with(tmp_path: Path) -> None:
    asked, written = write(f"{tmp_path}/in", NAMES), write(f"{tmp_path}/out", [*NAMES, NAMES[0]])
    with pytest.raises(
        RuntimeError, match="such as row 0. No manifest is written; remove this directory and start aga"
    ):
        require_each_once(asked, written, [f"{tmp_path}/checkpoint"])


class Settings(Config):
    output: str


@pytest.mark.parametrize("expected", [2, 4])
def test_a_commit_of_more_or_fewer_rows_than_went_in_is_refused(tmp_path: Path, expected: int) -> None:
    settings = Settings(output=str(tmp_path))
    with manifest.work("caption", settings.output, settings, {}) as work:
        with pytest.raises(
            RuntimeError, match=f"3 rows were written, expected {expected}, as many as went in; no manife"
        ):
            work.commit(Rows(rows_in=3, ok=1, rejected=2, failed=0), expected)
    assert not (tmp_path / "manifest.json").exists()
