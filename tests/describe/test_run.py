"""`dermray describe` as a user types it: what it prints, writes, and refuses."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dermray import storage
from tests.conftest import call_cli
from tests.describe.made import awkward, ingested, row


class Page(HTMLParser):
    """Images, their alternative texts, what is asked of other places, and the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images, self.outside, self.words = list[str](), list[str](), ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img":
            self.images.append(given["alt"] or "")
        for name in ("src", "href"):
            if name in given and not (given[name] or "").startswith("data:"):
                self.outside.append(f"{tag} {given[name]}")

    def handle_data(self, data: str) -> None:
        self.words += data


def words(text: str) -> str:
    return re.sub(r"\s+", " ", Page(text).words)


def test_tables_page_csv_and_json(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    ingested(f"{place}/ingest")
    code, out, err = call_cli(capsys, "describe", f"{place}/ingest", "--output", f"{place}/told")
    assert code == 0, err
    assert "leak groups: 8 checked, of 14 rows: none in two splits" in out
    assert "patients: 4 checked, of 8 rows (6 more have none): none in two splits" in out
    assert re.search(r"^clinic +C +12 +5 +7 +0 +2 +4 +1 +7$", out, re.M), out
    assert re.search(r"^other +C\+D +2 +1 +0 +1 +1 +0 +0 +2$", out, re.M), out
    assert "5 rows are not usable" in out and "1  failed: table row names no image" in out
    assert max(map(len, out.splitlines()[:30])) <= 100
    told = json.loads(storage.read_bytes(f"{place}/told/describe.json"))
    assert told["total"]["images"] == 14 and [line["source"] for line in told["sources"]] == ["clinic", "other"]
    assert told["leak_groups"]["joined_by_pictures"] == 1 and told["leak_groups"]["lesions_with_two_labels"] == 1
    assert told["cell_issues"][0]["what"] == "age: expected years"
    table = list(csv.DictReader(storage.read_bytes(f"{place}/told/table.csv").decode().splitlines()))
    [total] = [line for line in table if line["source"] == line["split"] == "all"]
    assert (total["images"], total["label malignant"], total["skin_tone estimated"]) == ("14", "7", "1")
    page = storage.read_bytes(f"{place}/told/describe.html").decode()
    assert not Page(page).outside, "it needs nothing beside it"
    assert all(alt.strip() for alt in Page(page).images)


def test_the_page_says_why_rows_are_together_and_why_others_are_not_there(tmp_path: Path) -> None:
    ingested(f"{tmp_path}/ingest")
    page = described(tmp_path)
    text = words(page)
    assert re.search(r"1 and 2 look alike: \d of 64 bits of the hash differ, thumbnails by \d\.\d of 255", text)
    assert "1 and 2 look alike and have different labels" in text and "1 and 2: same lesion, clinic/L1" in text
    assert "lesion clinic/L1 is benign in one row and malignant in another" in text
    assert "same bytes: clinic kept.jpg, melanoma, malignant, ok, val" in text
    for reason in ("exact duplicate of another file", "empty file", "truncated or damaged image", "image file missing"):
        assert f": {reason}" in text
    assert text.count("no picture to see") == 2 and text.count("no bytes") == 2
    assert "table row names no image @ t.csv line 9" in text and "orientation 6" in text and "'999'" in text
    # 8 + 2 look-alikes + 2 of a lesion + 1 copied + 1 by label and tone, at most six of a cell; the same by entity
    assert sum("malignant" in alt for alt in Page(page).images) >= 6


def described(place: Path) -> str:
    from dermray.cli import main

    main(["describe", f"{place}/ingest", "--page", f"{place}/page.html"])
    return (place / "page.html").read_text()


def test_the_same_page_whatever_files_the_rows_lie_in(tmp_path: Path) -> None:
    pages = []
    for number, rows in enumerate((awkward(), awkward()[::-1])):
        ingested(f"{tmp_path}/{number}/ingest", rows)
        pages.append(described(tmp_path / str(number)).replace(f"{tmp_path}/{number}", ""))
    assert pages[0] == pages[1]


def test_a_leak_is_named_and_ends_with_1_when_all_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = row(60, leak_group="g-P1", split="test", patient_id="clinic/P1")
    ingested(f"{tmp_path}/ingest", [*awkward(), stray])
    code, out, err = call_cli(capsys, "describe", f"{tmp_path}/ingest", "--output", f"{tmp_path}/told")
    assert code == 1 and "leak: group 'g-P1' lies in both 'train' and 'test'" in err
    assert "leak groups: 8 checked, of 15 rows: 1 group LIES IN SEVERAL SPLITS: g-P1 (train, test)" in out
    assert "1 patient LIES IN SEVERAL SPLITS: clinic/P1 (train, test)" in out
    page = words((tmp_path / "told" / "describe.html").read_text())
    assert "Rows leak" in page and "Nothing lies in two splits" not in page
    leaks = {one["column"]: one for one in json.loads((tmp_path / "told" / "describe.json").read_text())["leaks"]}
    assert leaks["leak_group"]["named"] == {"g-P1": ["train", "test"]} and leaks["lesion_id"]["crossing"] == 0


def test_what_was_split_by_image_leaks_as_it_was_asked_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ingested(
        f"{tmp_path}/ingest", [*awkward(), row(60, leak_group="g-P1", split="test", patient_id="clinic/P1")]
    )
    told = made.manifest.model_copy(update={"leaking_groups": {"k": 1}})
    (tmp_path / "ingest" / "manifest.json").write_text(told.model_dump_json())
    code, out, err = call_cli(capsys, "describe", f"{tmp_path}/ingest", "--output", f"{tmp_path}/told")
    assert code == 0 and not err and "1 group LIES IN SEVERAL SPLITS: g-P1 (train, test)" in out
    mark = "split by image: 1 leak group lies in several splits, so scores on val and test images are inflated"
    assert f"WARNING: {mark}" in out.splitlines()[-1]
    assert mark in words((tmp_path / "told" / "describe.html").read_text())
    assert json.loads((tmp_path / "told" / "describe.json").read_text())["leaking_groups"] == {"k": 1}


def test_one_patient_in_two_groups_leaks_though_no_group_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ingested(f"{tmp_path}/ingest", [*awkward(), row(61, split="test", patient_id="clinic/P1")])
    code, _, err = call_cli(capsys, "describe", f"{tmp_path}/ingest", "--csv", f"{tmp_path}/t.csv")
    assert code == 1 and "leak: patient 'clinic/P1'" in err and (tmp_path / "t.csv").exists()


def test_files_named_one_by_one_and_lines_by_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ingested(f"{tmp_path}/ingest")
    code, out, _ = call_cli(capsys, "describe", "ingest", "--by-split", "--json", "numbers.json")
    assert code == 0 and re.search(r"^other test +C\+D +2 ", out, re.M)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ingest", "numbers.json"]
    code, out, _ = call_cli(capsys, "describe", "ingest")
    assert code == 0 and f"page: {tmp_path}/ingest-describe/describe.html" in out
    assert {path.name for path in (tmp_path / "ingest-describe").iterdir()} == {
        "describe.html", "describe.json", "table.csv",
    }  # fmt: skip


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ingested(f"{tmp_path}/a/ingest")
    ingested(f"{tmp_path}/b/ingest")
    ingested(f"{tmp_path}/sweep", [], "sweep")

    def refused(*arguments: str) -> tuple[int, str]:
        code, _, err = call_cli(capsys, "describe", *arguments)
        return code, err

    code, err = refused(f"{tmp_path}/sweep")
    assert code == 1 and "result of stage 'sweep'" in err and "expected one of ingest, caption, generate" in err
    code, err = refused(f"{tmp_path}/nowhere")
    assert code == 1 and "does not exist" in err
    code, err = refused(f"{tmp_path}/a/ingest", "--csv", f"{tmp_path}/a/ingest/t.csv")
    assert code == 2 and "nothing writes into" in err
    code, err = refused(f"{tmp_path}/a/ingest", "--csv", f"{tmp_path}/t.csv", "--output", f"{tmp_path}/c")
    assert code == 2 and "--output" in err
    assert refused(f"{tmp_path}/a/ingest", "--output", f"{tmp_path}/told")[0] == 0
    assert refused(f"{tmp_path}/a/ingest", "--output", f"{tmp_path}/told")[0] == 0, "again, over what it wrote"
    code, err = refused(f"{tmp_path}/b/ingest", "--output", f"{tmp_path}/told")
    assert code == 2 and f"describes another result, {tmp_path}/a/ingest" in err


def test_rows_of_an_earlier_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ingested(f"{tmp_path}/ingest")
    for file in tmp_path.glob("ingest/data/rows/*.parquet"):
        pq.write_table(pq.read_table(file).drop_columns(["modification", "cell_issues"]), file)
    code, _, err = call_cli(capsys, "describe", f"{tmp_path}/ingest", "--json", f"{tmp_path}/told.json")
    assert code == 1 and "an earlier version of dermray made it, without ['cell_issues', 'modification']" in err


def test_drawn_images_and_captions_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = [row(n, "synthetic", leak_group=None, split="train", origin="synthetic") for n in range(6)]
    ingested(f"{tmp_path}/drawn", drawn, "generate")
    code, out, _ = call_cli(capsys, "describe", f"{tmp_path}/drawn", "--output", f"{tmp_path}/told")
    assert code == 0 and "leak groups: none known, so nothing to check in 6 rows" in out
    ingested(f"{tmp_path}/captions", stage="caption")
    assert call_cli(capsys, "describe", f"{tmp_path}/captions", "--output", f"{tmp_path}/said")[0] == 0


def test_nothing_usable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ingested(f"{tmp_path}/ingest", [one for one in awkward() if one["status"] != "ok"])
    code, out, err = call_cli(capsys, "describe", f"{tmp_path}/ingest", "--output", f"{tmp_path}/told")
    assert code == 0, err
    assert "5 rows are not usable" in out
