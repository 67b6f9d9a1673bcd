"""Groups, repeats and classes left out, over raw rows as the sources' images give them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray.config import ConfigError, validate
from dermray.datasets.ingest import IngestConfig, _assign
from dermray.datasets.looking import RAW


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


def assign(
    folder: Path, rows: list[dict[str, Any]], earlier: dict[str, dict[str, Any]] | None = None, **settings: Any
) -> dict[str, dict[str, Any]]:
    table = pa.Table.from_pylist(rows, schema=RAW)
    folder.joinpath("raw").mkdir(exist_ok=True)
    pq.write_table(table, folder / "raw" / "raw.parquet")
    previous = _result(folder, list(earlier.values())) if earlier else None
    config = {"output": "o", "sources": [{"source": "folder", "path": "p"}], **settings}
    assignment = _assign(str(folder / "raw"), validate(IngestConfig, config), previous)
    joined = pa.concat_tables(assignment.join(part) for part in (table.slice(7), table.slice(0, 7), table.slice(0, 0)))
    return {row["source_id"]: row for row in joined.to_pylist()}


def _result(folder: Path, rows: list[dict[str, Any]]) -> Any:
    """An earlier ingest of these rows: where its data lie is all that is asked of it."""
    (folder / "earlier" / "rows").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=RAW), folder / "earlier" / "rows" / "0.parquet")
    return SimpleNamespace(data=str(folder / "earlier"))


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
        str(tmp_path / "raw"), validate(IngestConfig, {"output": "o", "sources": [{"source": "folder", "path": "p"}]})
    )
    assert sum(each.nbytes for each in (made.names, made.groups, made.splits, made.reasons)) == 15 * len(rows)


def splits(read: dict[str, dict[str, Any]]) -> dict[str, str | None]:
    return {name: row["split"] for name, row in read.items()}


def test_images_of_an_earlier_result_stay_in_their_splits_when_rows_are_added(tmp_path: Path) -> None:
    first = assign(tmp_path, [raw(i) for i in range(60)])
    more = [raw(i) for i in range(200)]
    assert splits(assign(tmp_path, more)).items() & splits(first).items() != splits(first).items(), "without, they move"
    for seed in (0, 1):
        read = assign(tmp_path, more, first, seed=seed)
        assert splits(first).items() <= splits(read).items()
        assert abs(sum(row["split"] == "test" for row in read.values()) / 200 - 0.2) < 0.03


def test_images_are_known_by_their_bytes_under_another_name(tmp_path: Path) -> None:
    first = assign(tmp_path, [raw(i) for i in range(60)])
    renamed = [raw(i, source="d", source_id=f"new/{i:03}.jpg") for i in range(60)]
    assert [row["split"] for row in assign(tmp_path, renamed, first).values()] == list(splits(first).values())


def test_a_new_image_joins_the_split_of_its_patient(tmp_path: Path) -> None:
    first = assign(tmp_path, [raw(i, patient_id=f"c/{i}") for i in range(60)])
    read = assign(tmp_path, [raw(i, patient_id=f"c/{i % 60}") for i in range(120)], first)
    assert all(
        read[f"{i:03}"]["split"] == read[f"{i + 60:03}"]["split"] == first[f"{i:03}"]["split"] for i in range(60)
    )


def test_what_a_new_image_joins_goes_to_test_and_the_rest_is_left_out_with_a_reason(tmp_path: Path) -> None:
    first = assign(tmp_path, [raw(i, patient_id=f"c/{i}") for i in range(60)])
    train, test = (
        next(int(name) for name, row in first.items() if row["split"] == where) for where in ("train", "test")
    )
    rows = [raw(i, patient_id=f"c/{i}") for i in range(60)]
    rows += [raw(70, patient_id=f"c/{train}", lesion_id="c/l"), raw(71, patient_id=f"c/{test}", lesion_id="c/l")]
    read = assign(tmp_path, rows, first)
    assert read["070"]["split"] == read["071"]["split"] == read[f"{test:03}"]["split"] == "test"
    old = read[f"{train:03}"]
    assert old["status"] == "rejected"
    assert old["reason"] == "train row whose patient, lesion or near duplicate is in the official or earlier test split"


def test_a_test_set_published_since_is_test(tmp_path: Path) -> None:
    first = assign(tmp_path, [raw(i) for i in range(60)])
    name, _ = next((name, row) for name, row in first.items() if row["split"] == "train")
    rows = [raw(i, split="test" if f"{i:03}" == name else None) for i in range(60)]
    assert splits(assign(tmp_path, rows, first)) == splits(first) | {name: "test"}


@pytest.mark.parametrize("stratify", [["skin_tone"], [], ["entity", "entity"], ["entity", "malignant"], "colour"])
def test_columns_to_stratify_by_that_make_no_sense(stratify: Any) -> None:
    config = {"output": "o", "sources": [{"source": "folder", "path": "p"}], "stratify": stratify}
    with pytest.raises(
        ConfigError, match=r"stratify.*expected one of \['diagnosis', 'entity', 'malignant'\], and after it"
    ):
        validate(IngestConfig, config)
