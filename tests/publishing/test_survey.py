"""What leaves, counted and chosen before anything is written."""

from typing import Any

import pyarrow.parquet as pq
import pytest

from dermray import storage
from dermray.manifest import Result
from dermray.publishing.plan import planned
from dermray.publishing.rows import rows_of
from dermray.publishing.selection import Selection
from dermray.publishing.survey import Survey, surveyed
from tests.publishing.made import made, photograph, row

ALL = Selection({}, (), False)


def survey_of(result: Result, selection: Selection = ALL) -> Survey:
    return surveyed(result.row_files().files(), selection)


def exported(result: Result, selection: Selection = ALL, most_bytes: int = 10**9) -> list[dict[str, Any]]:
    """All rows of all shards."""
    shards = planned(survey_of(result, selection).files, most_bytes, 1000)
    return [one for shard in shards for one in rows_of(shard, selection, ["age", "licence", "source_id"])]


@pytest.mark.parametrize("paged", [True, False])
def test_every_usable_row_once_with_its_image(place: str, paged: bool) -> None:
    rows = [row(number) for number in range(12)]
    rows[5] |= {"status": "failed", "image": None}
    rows.append(rows[1] | {"status": "rejected", "source_id": "copy"})  # of the same bytes, in the same file
    result = made(place, rows, per_file=7, paged=paged)
    found = exported(result, most_bytes=2000)
    wanted = [one for one in rows if one["status"] == "ok"]
    assert sorted(one["sample_id"] for one in found) == sorted(one["sample_id"] for one in wanted)
    by_id = {one["sample_id"]: one for one in wanted}
    for one in found:
        assert one["image"] == by_id[one["sample_id"]]["image"] and one["age"] == by_id[one["sample_id"]]["age"]
    survey = survey_of(result)
    assert survey.rows.total() == 11 and survey.splits == {"train": 5, "val": 3, "test": 3}
    assert survey.by("malignant") == {(True,): 5, (False,): 6}
    assert survey.missing["age"] == sum(one["age"] is None for one in wanted) and survey.leak_groups() == 11


def test_where_and_licences(tmp_path: Any) -> None:
    rows = [row(n, licence="LicenseRef-DDI-research-use" if n < 4 else "CC-BY-4.0", source="ddi") for n in range(12)]
    result = made(f"{tmp_path}/r", rows)
    tone = Selection({"skin_tone": ["C"]}, (), False)
    assert [one["source_id"] for one in exported(result, tone)] == ["ISIC_0000003", "ISIC_0000007", "ISIC_0000011"]
    survey = survey_of(result, Selection({"skin_tone": ["C"]}, (), True))
    assert survey.left_out == {("ddi", "LicenseRef-DDI-research-use"): 1} and survey.rows.total() == 2
    old = Selection({"age_band": ["45-59"]}, (), True)
    assert {one["age"] for one in exported(result, old)} == {one["age"] for one in rows[5:12] if one["age"]}
    assert len(exported(result, Selection({}, ("LicenseRef-DDI-research-use",), True))) == 12


def test_columns_of_earlier_versions_are_null(tmp_path: Any) -> None:
    result = made(f"{tmp_path}/r", [row(0), row(1)])
    [file] = result.row_files().files()
    pq.write_table(pq.read_table(file).drop_columns(["original_id", "modification", "skin_tone_source"]), file)
    survey = survey_of(result)
    assert survey.normalised == survey.modified == 0 and survey.by("skin_tone_source") == {(None,): 2}
    assert ALL.of_file(file, ["original_id"])["original_id"].to_pylist() == [None, None]


def test_a_leak_group_in_two_splits_stops_it(tmp_path: Any) -> None:
    rows = [row(number, leak_group="g7") for number in (0, 3, 1, 2)]
    with pytest.raises(RuntimeError, match="1 leak groups lie in two splits"):
        survey_of(made(f"{tmp_path}/r", rows, per_file=1)).leak_groups()


def test_damage_is_told(tmp_path: Any) -> None:
    result = made(f"{tmp_path}/r", [row(0), row(1)])
    [file] = result.row_files().files()
    shards = planned(survey_of(result).files, 10**9, 10)
    table = pq.read_table(file)
    other = table.set_column(0, table.schema.field("image"), [[photograph(8), photograph(9)]])
    pq.write_table(other, file)
    with pytest.raises(RuntimeError, match="the bytes of image [0-9a-f]{64} are others by now"):
        list(rows_of(shards[0], ALL, []))
    pq.write_table(table.slice(0, 1), file)
    with pytest.raises(RuntimeError, match="1 rows of 2 were found"):
        list(rows_of(shards[0], ALL, []))
    storage.delete_file(file)
    twice = made(f"{tmp_path}/twice", [row(0), row(0, source_id="again")])
    with pytest.raises(RuntimeError, match="is there twice with status ok"):
        exported(twice)
