"""Exports of conversations as `datasets`, LLaVA, LLaMA-Factory and chat templates take them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest

from dermray.config import ConfigError, validate
from dermray.datasets.decode import decode
from dermray.publishing import as_json, place, run
from dermray.publishing.conversations import messages, standing
from dermray.publishing.settings import SPOKEN, PublishConfig
from tests.publishing.made import captioned, files, instructed, made, row

SPLITS = {"train": "train", "val": "validation", "test": "test"}
ROWS = [instructed(number) for number in range(9)]
ROWS[4] |= {"status": "rejected", "reason": "no answer"}
OK = [one for one in ROWS if one["status"] == "ok"]


def exported(result: str, output: str, **more: Any) -> run.Exported:
    return run.export(validate(PublishConfig, {"result": result, "output": output} | more))


@pytest.fixture(scope="module")
def exports(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("conversations")
    result = made(f"{root}/instruct", ROWS, "instruct", per_file=4)
    for form in (*SPOKEN, "parquet"):
        exported(result.uri, f"{root}/{form}", format=form, name="lesions")
    return root


def lists(directory: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: json.loads((directory / f"{split}.json").read_text("utf-8")) for split in SPLITS.values()}


def test_turns_are_of_pairs_that_stand_and_else_of_the_caption() -> None:
    told = messages(ROWS[0])
    assert [turn["role"] for turn in told] == ["user", "assistant"] * 2
    assert told[1]["content"] == "a image of ä lesion", "a reader would put the pixels there"
    assert standing(ROWS[0]["pairs"]) == [
        {"question": "What is seen in 0?", "answer": "a <image> of ä lesion"},
        {"question": "Which colours?", "answer": "brown\nand red"},
    ]
    question, answer = messages(captioned(2))
    assert question["content"].endswith((".", "?")) and answer["content"] == "a lesion | number 2"
    assert messages(captioned(2))[0] == question, "drawn from the image's id"
    assert messages(captioned(3))[1]["content"] == "a lesion, 3", "pairs of captions have no status"
    rejected = ROWS[0] | {"pairs": ROWS[0]["pairs"][1:2]}
    with pytest.raises(RuntimeError, match="neither a pair with status ok nor a caption"):
        messages(rejected)


@pytest.mark.slow
def test_llava_reads_the_list(exports: Path) -> None:
    """As llava/train/train.py does: `image` below the folder, human and gpt in turns, <image> in the first."""
    found = {one["id"]: (split, one) for split, ones in lists(exports / "llava").items() for one in ones}
    assert sum(map(len, lists(exports / "llava").values())) == len(found) == len(OK)
    for one in OK:
        split, read = found[one["sample_id"]]
        assert split == SPLITS[one["split"]] and read["licence"] == "CC-BY-NC-4.0"
        assert (exports / "llava" / read["image"]).read_bytes() == one["image"]
        assert [turn["from"] for turn in read["conversations"]] == ["human", "gpt"] * 2
        texts = [turn["value"] for turn in read["conversations"]]
        assert texts == [
            f"<image>\n{one['pairs'][0]['question']}",
            "a image of ä lesion",
            "Which colours?",
            "brown\nand red",
        ]


@pytest.mark.slow
def test_llama_factory_reads_the_list(exports: Path) -> None:
    """As its SharegptDatasetConverter does, by what dataset_info.json says."""
    described = json.loads((exports / "sharegpt/dataset_info.json").read_bytes())
    assert set(described) == set(SPLITS.values())
    number = 0
    for split, about in described.items():
        assert about["formatting"] == "sharegpt"
        tags, columns = about["tags"], about["columns"]
        data = json.loads((exports / "sharegpt" / about["file_name"]).read_text("utf-8"))
        by_id = {one["sample_id"]: one for one in OK if SPLITS[one["split"]] == split}
        assert {one["id"] for one in data} == set(by_id)
        for one in data:
            turns = one[columns["messages"]]
            assert len(turns) % 2 == 0
            for place_, turn in enumerate(turns):
                assert turn[tags["role_tag"]] == tags[("user_tag", "assistant_tag")[place_ % 2]]
            words = "".join(turn[tags["content_tag"]] for turn in turns)
            assert words.count("<image>") == len(one[columns["images"]]) == 1
            [image] = one[columns["images"]]
            assert (exports / "sharegpt" / image).read_bytes() == by_id[one["id"]]["image"]
            number += 1
    assert number == len(OK)


@pytest.mark.slow
@pytest.mark.parametrize("form", SPOKEN)
def test_datasets_opens_conversations(exports: Path, tmp_path: Path, form: str) -> None:
    data = dict(datasets.load_dataset(str(exports / form), cache_dir=str(tmp_path)))
    assert {split: len(rows) for split, rows in data.items()} == Counter(SPLITS[one["split"]] for one in OK)
    name = "sample_id" if form == "hf" else "id"
    found = {one[name]: one for rows in data.values() for one in rows}
    for one in OK:
        read = found[one["sample_id"]]
        if form == "hf":
            assert read["messages"] == messages(one) and read["malignant"] == one["malignant"]
            assert read["image"].convert("RGB").tobytes() == decode(one["image"]).tobytes()
        else:
            turns = read["conversations" if form == "llava" else "messages"]
            assert [list(turn.values())[1] for turn in turns[1:]] == [turn["content"] for turn in messages(one)[1:]]
    assert ("pairs" in data["train"].column_names) is False


@pytest.mark.slow
def test_nothing_that_was_rejected_leaves(exports: Path) -> None:
    import pyarrow.parquet as pq

    for form in ("llava", "sharegpt"):
        assert not any(b"SECRET" in file.read_bytes() for file in (exports / form).rglob("*.json"))
    for form in ("hf", "parquet"):
        for file in (exports / form / "data").iterdir():
            assert "SECRET" not in str(pq.read_table(file).drop_columns("image").to_pylist())
    pairs = pq.read_table(exports / "parquet/data/test-00000-of-00001.parquet")["pairs"].to_pylist()
    assert pairs and all(len(each) == 2 and set(each[0]) == {"question", "answer"} for each in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("form", SPOKEN)
def test_card_and_croissant(exports: Path, form: str) -> None:
    import mlcroissant

    card = (exports / form / "README.md").read_text()
    assert "visual-question-answering" in card and "written by a machine and may be wrong" in card
    data = mlcroissant.Dataset(str(exports / form / "croissant.json"))
    assert data.metadata.ctx.issues.errors == set()
    said = json.loads((exports / form / "croissant.json").read_bytes())
    listed = {file["contentUrl"] for file in said["distribution"] if file["@type"] == "cr:FileObject"}
    expected = {"llava": {"train.json", "validation.json", "test.json"}}
    expected["sharegpt"] = expected["llava"] | {"dataset_info.json"}
    assert listed == expected.get(form, listed) and len(listed) >= 3


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_list_of_several_parts_that_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the parts are put together, and again right after: the same bytes as of one go."""
    monkeypatch.setattr(type(run.FORMATS["llava"]), "MOST_ROWS", 2)
    result = made(f"{tmp_path}/instruct", ROWS, "instruct", per_file=4).uri
    whole = exported(result, f"{tmp_path}/whole", format="llava", name="lesions")
    assert whole.splits == Counter(SPLITS[one["split"]] for one in OK) and f"{2 * len(OK)} questions" in str(whole)
    folders = {file.parent.name for file in (tmp_path / "whole/images/train").rglob("*.jpg")}
    assert folders == {"00000", "00001"}, "two images in each"

    def killed(*given: Any) -> Any:
        raise KeyboardInterrupt

    for module, name in ((as_json, "each_in_ray"), (place, "finish")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, killed)
            with pytest.raises(KeyboardInterrupt):
                exported(result, f"{tmp_path}/cut", format="llava", name="lesions")
    exported(result, f"{tmp_path}/cut", format="llava", name="lesions")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_licences_stop_it_and_ingested_rows_have_nothing_to_say(tmp_path: Path) -> None:
    rows = [
        instructed(n, licence="LicenseRef-DDI-research-use", source="ddi") if n < 2 else instructed(n) for n in range(6)
    ]
    result = made(f"{tmp_path}/instruct", rows, "instruct").uri
    with pytest.raises(ConfigError, match="2 rows of ddi: LicenseRef-DDI-research-use"):
        exported(result, f"{tmp_path}/out", format="sharegpt")
    assert not (tmp_path / "out").exists()
    done = exported(result, f"{tmp_path}/out", format="sharegpt", leave_out_forbidden=True)
    assert sum(done.splits.values()) == 4
    ingested = made(f"{tmp_path}/ingest", [row(n) for n in range(4)]).uri
    with pytest.raises(ConfigError, match="rows have neither questions nor captions"):
        exported(ingested, f"{tmp_path}/none", format="llava")
    captions = made(f"{tmp_path}/caption", [captioned(n) for n in range(4)], "caption").uri
    assert exported(captions, f"{tmp_path}/captions", format="llava").splits == {"train": 2, "validation": 1, "test": 1}
