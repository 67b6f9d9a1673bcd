from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dermray.datasets.cells import Cells, age
from dermray.datasets.survey import messages, reading_messages, survey_rows
from dermray.records import IMAGES, conform


def survey(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    pq.write_table(conform([{"source": "clinic"} | row for row in rows], IMAGES), folder / "a.parquet")
    return survey_rows(str(folder))


def test_missing_values_are_counted_by_source(tmp_path: Path) -> None:
    rows = [{"patient_id": None, "lesion_id": f"clinic/{i}"} for i in range(5)]
    rows += [{"source": "other", "patient_id": f"other/{i}"} for i in range(3)]
    facts = survey(tmp_path, rows)
    assert facts["missing"]["clinic"]["rows"] == 5 and facts["missing"]["clinic"]["patient_id"] == 5
    assert "lesion_id" not in facts["missing"]["clinic"] and facts["missing"]["other"]["lesion_id"] == 3
    assert any("5 patient_id" in line for line in messages(facts))


def test_ids_that_look_like_nobodys_are_warned_of(tmp_path: Path) -> None:
    rows = [{"patient_id": f"clinic/P{i}"} for i in range(100)] + [{"patient_id": "clinic/ward"}] * 25
    rows += [{"patient_id": "clinic/9999"}] * 4 + [{"patient_id": "clinic/0"}] * 3 + [{"lesion_id": "clinic/xxx"}] * 3
    found = survey(tmp_path, rows)["suspicious_ids"]
    assert [text.split(" holds")[0] for text in found] == [
        "patient_id 'clinic/ward'", "patient_id 'clinic/9999'", "patient_id 'clinic/0'", "lesion_id 'clinic/xxx'"
    ]  # fmt: skip
    assert "holds 25 of 135 rows" in found[0]


def test_a_patient_with_many_images_among_many_is_not(tmp_path: Path) -> None:
    rows = [{"patient_id": f"clinic/{i // 19}"} for i in range(19, 800)] + [{"patient_id": "clinic/a"}] * 30
    assert survey(tmp_path, rows)["suspicious_ids"] == []


def test_issues_are_counted_by_kind_with_examples(tmp_path: Path) -> None:
    rows = []
    for line, value in enumerate(["999", "-1", "inf", "1000", "40"], start=2):
        cells = Cells({"age": value}, f"t.csv line {line}")
        rows.append({"age": cells.read("age", age), "cell_issues": cells.issues})
    facts = survey(tmp_path, rows)
    assert facts["cell_issues"] == {
        "age: expected years from 0 to 120, or a range of at most 10 of them": {
            "count": 4,
            "examples": ["t.csv line 2: '999'", "t.csv line 3: '-1'", "t.csv line 4: 'inf'"],
        }
    }
    assert any(line.startswith("4 cells make no sense: age: expected") for line in messages(facts))


def test_what_is_said_of_a_source() -> None:
    table = {"path": "/d/t.csv", "rows": 3, "encoding": "cp1252", "delimiter": "tab", "columns_not_read": ["site", "x"]}
    lines = reading_messages({"source": "folder", "table": table, "classes_of_unknown_label": {"NV": 2}})
    assert lines[0] == "folder: /d/t.csv: 3 rows, cp1252, tab; columns not read: site, x"
    assert "say nothing of NV (2)" in lines[1] and "other_classes_are: benign" in lines[1]


def test_images_that_lie_in_one_file_and_rows_that_lie_in_many_are_told() -> None:
    facts = {"source": "a", "hdf5": {"path": "/d/i.hdf5", "images": 7}}
    assert reading_messages(facts) == ["a: /d/i.hdf5: 7 images, read where they lie"]
    facts = {"source": "a", "descriptions": {"path": "/d", "files": 3, "other_files": 2}}
    assert reading_messages(facts) == ["a: /d: 3 JSON files, one per image; 2 other files not read"]


def test_archives_of_samples_and_folders_of_nobodys_label_are_told() -> None:
    read = {"path": "/d", "samples": 7, "archives": 2, "other_files": 1, "columns_not_read": ["txt"]}
    [line] = reading_messages({"source": "webdataset", "samples": read})
    assert line == ("webdataset: /d: 7 samples in 2 files, read where they lie; columns not read: txt; "
                    "1 other files not read")  # fmt: skip
    [line] = reading_messages({"source": "mednode", "folders_of_unknown_label": {"nevus": 3}})
    assert line.startswith("WARNING: mednode: its table of labels does not know the folders nevus (3)")


def test_a_source_of_which_nothing_is_usable_is_warned_of(tmp_path: Path) -> None:
    good: dict[str, Any] = {"source": "a", "status": "ok", "width": 200, "height": 300}
    bad: dict[str, Any] = {"source": "b", "status": "failed", "reason": "image file missing"}
    pq.write_table(conform([good, {**bad, "source": "a"}, bad, bad], IMAGES), tmp_path / "rows.parquet")
    warned = [line for line in messages(survey_rows(str(tmp_path))) if line.startswith("WARNING")]
    assert len(warned) == 1 and warned[0].startswith(
        "WARNING: none of the 2 rows of b is usable: see the reasons below"
    )
