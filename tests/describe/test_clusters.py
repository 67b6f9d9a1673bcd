"""Groups of several images: which are looked at, and what joins them."""

from pathlib import Path
from typing import Any

import pytest

from dermray.datasets.leaks import Keys
from dermray.describe import clusters
from dermray.describe.clusters import Cluster, Clusters
from dermray.describe.pictures import Picture, pictures
from dermray.describe.why import MOST, UNTOLD, explained, shown
from tests.describe.made import ingested, picture, row


def found(place: Path, rows: list[dict[str, Any]]) -> Clusters:
    files = ingested(f"{place}/rows", rows).row_files()
    return clusters.find(files, Keys.read(files, "leak_group").all())


def of(cluster: Cluster, copies: dict[str, list[dict[str, Any]]] | None = None) -> tuple[list[str], list[str]]:
    told = explained(cluster, pictures(shown(cluster)), copies or {})
    return told.reasons, told.doubts


def test_sizes_and_which_are_joined_by_pictures(tmp_path: Path) -> None:
    rows = [row(0), row(1)]
    rows += [row(10 + n, leak_group="g-patient", patient_id="P") for n in range(4)]
    of_chain = [{"patient_id": "Q"}, {"patient_id": "Q", "lesion_id": "L"}, {"lesion_id": "L"}]
    rows += [row(20 + n, leak_group="g-chain", **own) for n, own in enumerate(of_chain)]
    rows += [row(30, leak_group="g-alike"), row(31, leak_group="g-alike", patient_id="R")]
    told = found(tmp_path, rows)
    assert told.sizes == {"1": 2, "2": 1, "3-5": 2, "6-10": 0, "11-100": 0, "101+": 0}
    assert (told.largest, told.several) == (4, 3)
    assert [(one.name, one.by_pictures) for one in told.found] == [
        ("g-patient", False), ("g-chain", False), ("g-alike", True),
    ]  # fmt: skip


def test_no_group_of_several_and_none_at_all(tmp_path: Path) -> None:
    assert found(tmp_path / "a", [row(0), row(1)]).sizes["1"] == 2
    assert found(tmp_path / "b", [row(0, leak_group=None)]).as_json()["of_several"] == 0


def test_of_too_many_rows_the_largest_groups_and_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "LARGEST", 1)
    monkeypatch.setattr(clusters, "MOST_ROWS", 11)
    monkeypatch.setattr(clusters, "MOST_OF_ONE", 5)
    image = picture(0)
    rows = [row(n, leak_group="g-large", patient_id="P", image=image + bytes([n])) for n in range(30)]
    rows += [row(n, leak_group=f"g-{n // 2}", image=image + bytes([n])) for n in range(30, 60)]
    told = found(tmp_path, rows)
    assert told.several == 16 and len(told.found) == 4
    large = told.found[0]
    assert (large.name, large.size, len(large.rows)) == ("g-large", 30, 5)
    ids = sorted(one["sample_id"] for one in rows[:30])
    assert [one["sample_id"] for one in large.rows] == ids[:5], "those with the least ids, whatever files they lie in"
    assert told.as_json()["looked_at"] == 4


def test_a_look_alike_and_what_is_not_told(tmp_path: Path) -> None:
    group = {"leak_group": "g"}
    rows = [row(1, **group), row(1, source_id="re-encoded", image=picture(1, quality=40), **group), row(2, **group)]
    [cluster] = found(tmp_path, rows).found
    reasons, _ = of(cluster)
    numbers = {one["source_id"]: place for place, one in enumerate(shown(cluster), start=1)}
    first, second = sorted([numbers["001.jpg"], numbers["re-encoded"]])
    assert reasons[0].startswith(f"{first} and {second} look alike: ") and reasons[1:] == [UNTOLD]


def test_a_rejected_copy_is_told(tmp_path: Path) -> None:
    rows = [row(1, leak_group="g", patient_id="P"), row(2, leak_group="g", patient_id="P")]
    [cluster] = found(tmp_path, rows).found
    copy = row(1, source_id="copy.jpg", status="rejected", reason="exact duplicate of another file")
    reasons, _ = of(cluster, {copy["sample_id"]: [rows[0], copy]})
    assert "1 and 2: same patient, P" in reasons
    [place] = [place for place, one in enumerate(shown(cluster), start=1) if one["sample_id"] == copy["sample_id"]]
    assert f"{place} is, byte for byte, also clinic copy.jpg (exact duplicate of another file)" in reasons


def test_of_many_images_some_of_each_part_are_shown(tmp_path: Path) -> None:
    rows = [row(n, leak_group="g", patient_id="P") for n in range(12)] + [row(20, leak_group="g", patient_id="Q")]
    [cluster] = found(tmp_path, rows).found
    assert cluster.size == 13 and len(shown(cluster)) == MOST
    assert {one["patient_id"] for one in shown(cluster)} == {"P", "Q"}


def test_what_cannot_be_decoded_has_a_reason(tmp_path: Path) -> None:
    rows = [row(1), row(2, image=b"no image")]
    files = ingested(f"{tmp_path}/rows", rows).row_files()
    from dermray.describe.chosen import choose
    from dermray.describe.counts import count

    listed = [one for some in choose(files, count(files).statuses).by_entity.values() for one in some]
    seen = pictures(listed)
    good, bad = seen[rows[0]["sample_id"]], seen[rows[1]["sample_id"]]
    assert isinstance(good, Picture) and good.url.startswith("data:image/jpeg;base64,")
    assert bad == "not an image: expected JPEG, PNG, WebP, TIFF, BMP or GIF"
