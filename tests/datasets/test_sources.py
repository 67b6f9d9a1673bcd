"""Adapters against the real tables of the public data sets."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dermray.datasets import folder, ham10000, isic_archive, pad_ufes_20
from dermray.datasets.sources import number, read_table, source, word
from dermray.records import IMAGES, conform


def table(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [{k: v or None for k, v in row.items()} for row in csv.DictReader(file)]


def test_ham10000_published_table(shared: Path) -> None:
    config = ham10000.SourceConfig(path="/data")
    rows = [ham10000.to_row(raw, config) for raw in table(shared / "metadata" / "HAM10000_metadata.csv")]
    assert len(rows) == 10015
    assert Counter(r["entity"] for r in rows) == {
        "nv": 6705, "mel": 1113, "bkl": 1099, "bcc": 514, "akiec": 327, "vasc": 142, "df": 115
    }  # fmt: skip
    assert len({r["lesion_id"] for r in rows}) == 7470
    assert sum(r["malignant"] is True for r in rows) == 1113 + 514
    assert sum(r["malignant"] is None for r in rows) == 327
    assert all(r["sex"] in ("female", "male", None) for r in rows)
    assert rows[0]["uri"].startswith("/data/images/ISIC_")
    conform([{k: v for k, v in r.items() if k != "uri"} for r in rows], IMAGES)


def test_pad_ufes_20_published_table(shared: Path) -> None:
    config = pad_ufes_20.SourceConfig(path="/data")
    rows = [pad_ufes_20.to_row(raw, config) for raw in table(shared / "metadata" / "PAD-UFES-20_metadata.csv")]
    assert len(rows) == 2298
    assert Counter(r["diagnosis"] for r in rows) == {
        "ACK": 730, "BCC": 845, "MEL": 52, "NEV": 244, "SCC": 192, "SEK": 235
    }  # fmt: skip
    assert len({r["patient_id"] for r in rows}) == 1373
    assert sum(r["malignant"] for r in rows) == 845 + 52 + 192
    assert all((r["fitzpatrick"] is None) == (r["skin_tone"] is None) for r in rows)
    conform([{k: v for k, v in r.items() if k != "uri"} for r in rows], IMAGES)


def test_isic_archive_table_with_images(shared: Path) -> None:
    config = isic_archive.SourceConfig(path=str(shared / "isic_uda1"))
    rows = [isic_archive.to_row(raw, config) for raw in table(shared / "isic_uda1" / "metadata.csv")]
    assert len(rows) == 457 and sum(r["malignant"] is True for r in rows) == 109
    assert sum(r["diagnosis"] is None for r in rows) == 2
    assert all(Path(r["uri"]).is_file() for r in rows)


def test_pad_extension_finds_the_files(shared: Path) -> None:
    config = pad_ufes_20.SourceConfig(path=str(shared / "pad_ufes_20_subset"), extension=".jpg")
    rows = [pad_ufes_20.to_row(raw, config) for raw in table(shared / "pad_ufes_20_subset" / "metadata.csv")]
    assert all(Path(r["uri"]).is_file() for r in rows)


@pytest.mark.parametrize(("text", "value"), [(None, None), ("", None), ("unknown", None), ("55.0", 55.0)])
def test_numbers_and_unknowns(text: str | None, value: float | None) -> None:
    assert number(text) == value


def test_words_are_never_guessed() -> None:
    assert word("Unknown") is None and word("MALE", {"male": "male"}) == "male" and word("m?", {"male": "male"}) is None


def test_unknown_sources_are_named() -> None:
    with pytest.raises(ValueError, match="source='isic2031': expected one of"):
        source("isic2031")


def test_tables_that_lack_columns_or_rows_are_refused_before_ray_starts(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image_id,dx\n")
    with pytest.raises(ValueError, match=r"columns \['age'\] are missing"):
        read_table(str(path), lambda raw: raw, ["image_id", "age"])
    with pytest.raises(ValueError, match="a header and no rows"):
        read_table(str(path), lambda raw: raw, ["image_id"])
    with pytest.raises(FileNotFoundError, match="no such metadata table"):
        read_table(str(tmp_path / "none.csv"), lambda raw: raw, [])


def test_folder_mapping() -> None:
    columns = {"diagnosis": "dx", "fitzpatrick": "fst", "patient_id": "p"}
    config = folder.SourceConfig(path="/d", name="clinic", columns=columns, table="t.csv", malignant_classes=["mel"])
    row = folder.to_row({"image": "a.jpg", "dx": "mel", "fst": "5", "p": "7"}, config)
    expected = {"malignant": True, "entity": "mel", "skin_tone": "C", "patient_id": "clinic/7", "uri": "/d/a.jpg"}
    assert row.items() >= expected.items()
    with pytest.raises(ValueError, match="fitzpatrick=9.0: expected 1 to 6"):
        folder.to_row({"image": "a.jpg", "dx": "mel", "fst": "9", "p": "7"}, config)


def test_folder_refuses_unknown_columns_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected keys out of"):
        folder.read(folder.SourceConfig(path=str(tmp_path), table="t.csv", columns={"colour": "c"}))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        folder.read(folder.SourceConfig(path=str(tmp_path / "none")))
