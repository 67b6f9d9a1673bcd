"""Images of a case, class folders, shards and saved data sets through ingest at once, as a user runs them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dermray.config import validate
from dermray.datasets import ingest
from dermray.records import read_columns
from tests.datasets import published as p
from tests.datasets import test_derm7pt, test_hf_dataset, test_scin, test_webdataset
from tests.datasets.test_published_layouts import jpeg


def layouts(folder: Path) -> list[dict[str, Any]]:
    """Small trees, each image like no other, and the sources of their presets."""
    test_derm7pt.three(folder / "derm7pt")
    for i, name in enumerate(
        ("NEL/NEL025.JPG", "NEL/Nel026.jpg", "NBL/Nbl075.jpg", "NBL/Nbl076.jpg", "NBL/NBL041.JPG")
    ):
        image(folder / "derm7pt" / "images" / name, i)
    melanoma = {"weighted_skin_condition_label": "{'Melanoma': 1.0}"}
    gone = {"case_id": "-5", "image_2_path": "dataset/images/gone.png"}
    test_scin.tree(folder / "scin", melanoma | gone, *[melanoma] * 3)  # enough cases for a split of each kind
    for i in range(4):
        image(folder / "scin" / f"dataset/images/{i}.png", 10 + i)
    for i, name in enumerate(("D/benign/ISIC_1.jpg", "D/malign/ISIC_2.jpg", "ND/malignant/896.jpg")):
        image(folder / "mclass" / name, 20 + i)
    test_webdataset.shard(folder / "shards" / "train-0.tar", {"a.jpg": jpeg(30), "a.cls": "nv", "b.jpg": b"no image"})
    test_hf_dataset.saved(folder / "hf" / "d", [test_hf_dataset.row(jpeg(40), 0), test_hf_dataset.row(None, 1)], "test")
    given = [s for name in ("derm7pt", "scin") for s in p.preset_sources(name, folder / name)]
    for settings, part in zip(p.preset_sources("mclass", folder), ("D", "ND"), strict=True):
        given.append(settings | {"path": f"{folder}/mclass/{part}"})
    given += [settings | {"benign_classes": ["nv"]} for settings in p.preset_sources("webdataset", folder / "shards")]
    return given + [s | {"benign_classes": ["nv"]} for s in p.preset_sources("hf_dataset", folder / "hf" / "d")]


def image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(5000 + seed))


@pytest.mark.slow
def test_all_in_one_ingest(local_ray: None, tmp_path: Path) -> None:
    given = layouts(tmp_path)
    result = ingest.run(validate(ingest.IngestConfig, {"output": f"{tmp_path}/out", "sources": given}))
    names = ["source", "source_id", "malignant", "split", "status", "reason", "lesion_id", "leak_group"]
    rows = read_columns(f"{result.data}/rows", names).to_pylist()
    by_name = {(row["source"], row["source_id"]): row for row in rows}
    assert len(by_name) == len(rows) and Counter(row["source"] for row in rows) == {
        "derm7pt": 6, "scin": 5, "mclass": 3, "webdataset": 2, "hf_dataset": 2
    }  # fmt: skip
    bad = {
        key[1]: (row["status"], row["reason"].split(" @ ")[0]) for key, row in by_name.items() if row["status"] != "ok"
    }
    assert bad["-5/dataset/images/gone.png"] == ("failed", "image file missing")
    assert bad["NBL/NBL041.JPG as clinic"][0] == "rejected" and bad["train-0.tar/b"][0] == "rejected"
    assert bad["data-00000-of-00001.arrow/1"] == ("failed", "row without an image") and len(bad) == 4
    splits = {key[1]: row["split"] for key, row in by_name.items() if row["status"] == "ok"}
    official = {"NEL/NEL025.JPG": "train", "NEL/Nel026.jpg": "train", "NBL/Nbl075.jpg": "val", "NBL/NBL041.JPG": "test",
                "MClass-D/malign/ISIC_2.jpg": "test", "MClass-ND/malignant/896.jpg": "test", "train-0.tar/a": "train",
                "data-00000-of-00001.arrow/0": "test"}  # fmt: skip
    assert splits.items() >= official.items()
    both = [by_name["derm7pt", name]["leak_group"] for name in ("NBL/Nbl075.jpg", "NBL/Nbl076.jpg")]
    assert both[0] == both[1], "a lesion's two images stay together"
    labels = {key[1]: row["malignant"] for key, row in by_name.items()}
    assert labels["-5/dataset/images/0.png"] is labels["MClass-ND/malignant/896.jpg"] is True
    assert labels["train-0.tar/a"] is labels["data-00000-of-00001.arrow/0"] is False
    facts = {fact["source"]: fact for fact in result.manifest.metrics["sources"]}
    assert facts["derm7pt"]["cases"] == 3 and facts["webdataset"]["samples"]["archives"] == 1
