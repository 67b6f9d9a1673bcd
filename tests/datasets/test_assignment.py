"""Groups, repeats and classes left out, over raw rows as the sources' images give them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray.config import validate
from dermray.datasets.ingest import RAW, IngestConfig, _assign


def raw(number: int, **values: Any) -> dict[str, Any]:
    """A row whose image looks like no other's."""
    told = {
        "sample_id": f"s{number}",
        "source": "c",
        "source_id": f"{number:03}",
        "status": "ok",
        "malignant": number % 2 == 0,
    }
    return told | {"hash": number * 0x9E3779B97F4A7C15 % 2**64, "thumbnail": bytes([number * 7 % 256]) * 192} | values


def assign(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> dict[str, dict[str, Any]]:
    table = pa.Table.from_pylist(rows, schema=RAW)
    pq.write_table(table, folder / "raw.parquet")
    config = {"output": "o", "sources": [{"source": "folder", "path": "p"}], **settings}
    assignment = _assign(str(folder), validate(IngestConfig, config))
    joined = pa.concat_tables(assignment.join(part) for part in (table.slice(7), table.slice(0, 7), table.slice(0, 0)))
    return {row["source_id"]: row for row in joined.to_pylist()}


def test_a_rejected_copy_still_links_its_patient_and_lesion(tmp_path: Path) -> None:
    rows = [raw(i) for i in range(40)]
    rows[0] |= {"patient_id": "c/p1", "lesion_id": "c/l1"}
    rows[1] |= {"patient_id": "c/p2"}
    rows += [raw(50, sample_id="same", patient_id="c/p1"), raw(51, sample_id="same", patient_id="c/p2")]
    rows += [raw(60, sample_id="s2", lesion_id="c/l1", malignant=None)]
    read = assign(tmp_path, rows)
    assert (
        read["050"]["reason"] == read["051"]["reason"] == "same image under conflicting labels: patient_id, malignant"
    )
    assert read["000"]["leak_group"] == read["001"]["leak_group"], "two patients, one of whose images is the other's"
    assert read["060"]["status"] == "rejected" and read["002"]["leak_group"] == read["000"]["leak_group"]
    assert read["003"]["leak_group"] != read["000"]["leak_group"]


def test_broken_files_of_equal_bytes_link_nobody(tmp_path: Path) -> None:
    rows = [raw(i, patient_id=f"c/p{i}") for i in range(40)]
    empty = {"sample_id": "empty", "status": "rejected", "reason": "empty file", "hash": None, "thumbnail": None}
    rows += [raw(50 + i, patient_id=f"c/p{i}") | empty for i in range(2)]
    read = assign(tmp_path, rows)
    assert read["000"]["leak_group"] != read["001"]["leak_group"]


def test_classes_left_out_are_found_whatever_their_case(tmp_path: Path) -> None:
    rows = [raw(i, diagnosis=["NV ", "nv", "MEL"][i % 3]) for i in range(45)]
    read = assign(tmp_path, rows, stratify="diagnosis", drop_classes=["Mel"])
    assert sum(row["status"] == "rejected" for row in read.values()) == 15


def test_a_class_left_out_that_occurs_nowhere_is_refused_with_the_nearest(tmp_path: Path) -> None:
    rows = [raw(i, diagnosis=["nv", "melanoma"][i % 2]) for i in range(40)]
    with pytest.raises(ValueError, match=r"drop_classes of diagnosis: \['melanom'\] match nothing.*\['melanoma'\]"):
        assign(tmp_path, rows, stratify="diagnosis", drop_classes=["melanom"])


def test_rows_keep_what_they_had_and_are_given_the_rest(tmp_path: Path) -> None:
    rows = [raw(i) for i in range(40)] + [raw(50, sample_id="s3", source="b", malignant=False)]
    rows += [raw(60 + i, sample_id=None, status="failed", reason=f"gone @ line {i}", hash=None) for i in range(3)]
    read = assign(tmp_path, rows)
    assert [(read[f"06{i}"]["status"], read[f"06{i}"]["reason"]) for i in range(3)] == [
        ("failed", f"gone @ line {i}") for i in range(3)
    ]
    assert read["060"]["leak_group"] is None and read["060"]["split"] is None
    twice = [read["003"], read["050"]]
    assert sorted((row["status"], row["reason"]) for row in twice) == [
        ("ok", None), ("rejected", "exact duplicate of another file")
    ]  # fmt: skip
    usable = [row for row in read.values() if row["status"] == "ok"]
    assert len(usable) == 40 and {row["split"] for row in usable} == {"train", "val", "test"}
    assert len({row["leak_group"] for row in usable}) == 40 and all(row["leak_group"][0] == "g" for row in usable)
    assert {row["split"] for row in read.values() if row["status"] != "ok"} == {None}


def test_what_lies_in_the_object_store_is_small(tmp_path: Path) -> None:
    rows = [raw(i, status="failed", reason="gone") for i in range(1000)] + [raw(1000 + i) for i in range(40)]
    assign(tmp_path, rows)
    made = _assign(
        str(tmp_path), validate(IngestConfig, {"output": "o", "sources": [{"source": "folder", "path": "p"}]})
    )
    assert sum(each.nbytes for each in (made.names, made.groups, made.splits, made.reasons)) == 15 * len(rows)
