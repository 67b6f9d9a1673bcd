from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dermray import storage
from dermray.config import validate
from dermray.datasets import folder, ingest, looking
from dermray.datasets.class_folders import Told, read, rows_of
from dermray.datasets.listing import files
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.datasets.splits import official_name
from dermray.records import IMAGES


def rows(root: Path, *names: str) -> dict[str, dict[str, Any]]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return {row["source_id"]: row for row in rows_of(str(root), files(str(root)), Told())}


def told(root: Path, *names: str) -> dict[str, tuple[str | None, str | None]]:
    return {name: (row.get("diagnosis"), row.get("split")) for name, row in rows(root, *names).items()}


def test_the_first_folder_is_the_class_and_the_root_has_none(tmp_path: Path) -> None:
    assert told(tmp_path, "MEL/a.jpg", "nv/patient 7/visit/b.jpg", "c.jpg") == {
        "MEL/a.jpg": ("MEL", None), "nv/patient 7/visit/b.jpg": ("nv", None), "c.jpg": (None, None)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "split"),
    [("train", "train"), ("Train", "train"), ("TRAINING", "train"), ("val", "val"), ("valid", "val"),
     ("Validation", "val"), ("test", "test"), ("Testing ", "test")],
)  # fmt: skip
def test_split_folders_are_no_classes(tmp_path: Path, folder: str, split: str) -> None:
    above = told(tmp_path / "above", f"{folder}/melanoma/a.jpg", f"{folder}/nevus/deep/b.jpg", f"{folder}/c.jpg")
    assert above == {
        f"{folder}/melanoma/a.jpg": ("melanoma", split), f"{folder}/nevus/deep/b.jpg": ("nevus", split),
        f"{folder}/c.jpg": (None, split),
    }  # fmt: skip
    below = told(tmp_path / "below", f"melanoma/{folder}/a.jpg", f"nevus/{folder}/b.jpg")
    assert below == {f"melanoma/{folder}/a.jpg": ("melanoma", split), f"nevus/{folder}/b.jpg": ("nevus", split)}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/mel/a.jpg", "nv/b.jpg"], "folders are mixed"),
        (["train/mel/a.jpg", "nv/test/b.jpg"], "folders are mixed"),
        (["train/mel/test/a.jpg"], "does not tell its class: expected one split folder"),
        (["archive/train/mel/a.jpg"], "give the folder that holds train and test as path"),
        (["a/b/test/a.jpg"], "does not tell its class"),
    ],
)
def test_layouts_that_tell_no_class_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rows(tmp_path, *names)


def test_what_is_no_image_decides_no_layout(tmp_path: Path) -> None:
    found = rows(tmp_path, "train/mel/a.jpg", "docs/readme.txt", ".cache/x.jpg", "labels.csv")
    assert {name: row.get("reason") for name, row in found.items()} == {
        "train/mel/a.jpg": None,
        "docs/readme.txt": "no image by its name (.txt)",
        ".cache/x.jpg": "hidden file or folder",
        "labels.csv": "no image by its name (.csv)",
    }
    assert found["train/mel/a.jpg"]["uri"] == f"{tmp_path}/train/mel/a.jpg"


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_many_tasks_list_what_one_does(tmp_path: Path) -> None:
    place = str(tmp_path)
    with pytest.raises(ValueError, match="no file found; expected <class>/<name>.jpg"):
        read(place, dict)
    names = [f"{split}/{label}/{patient}/{i}.jpg" for split in ("train", "test") for label in ("mel", "nv")
             for patient in range(5) for i in range(2)]  # fmt: skip
    names += ["top.jpg", "train/no class.jpg", "notes.txt", ".hidden/a.jpg", "train/mel/_x/y/z/a.jpg"]
    for name in names:
        storage.write_bytes(storage.join(place, name), b"x")
    dataset, classes, count = read(place, dict)
    told = Told()
    expected = {row["source_id"]: row for row in rows_of(place, files(place), told)}
    found = dataset.take_all()
    assert count == len(found) == len(names) == told.count
    assert classes == told.classes == {"mel": 20, "nv": 20}
    kept = ("uri", "diagnosis", "split", "status", "reason")
    assert {row["source_id"]: [row[name] for name in kept] for row in found} == {
        name: [row.get(column) for column in kept] for name, row in expected.items()
    }
    storage.write_bytes(storage.join(place, "other/mel/a.jpg"), b"x")
    with pytest.raises(ValueError, match="folders are mixed"):
        read(place, dict)


def assigned(root: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    """What ingest makes of class folders, without Ray: rows by source id."""
    config = folder.SourceConfig(path=str(root), malignant_classes=["mel"])
    raw = [folder.of_class_folder(row, config) for row in rows_of(str(root), files(str(root)), Told())]
    given = pa.Table.from_pylist(raw, schema=pa.schema([*IMAGES, ("uri", pa.string())]))
    table = pa.concat_tables(looking._look_at(given))
    (root.parent / "raw").mkdir(exist_ok=True)
    pq.write_table(table, root.parent / "raw" / "rows.parquet")
    whole = {"output": "out", "sources": [{"source": "folder", "path": "p"}]} | settings
    done = ingest._assign(str(root.parent / "raw"), validate(ingest.IngestConfig, whole)).join(table)
    return {row["source_id"]: row for row in done.to_pylist()}


def phantoms(root: Path, counts: dict[str, int]) -> None:
    """So many phantoms in each folder, all unlike."""
    first = 0
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(first, first + count):
            row = phantom_row(i, SourceConfig(count=1000, size=32, duplicates=0, broken=0))
            (root / name / f"{i}.png").write_bytes(row["image"])
        first += count


def test_official_splits_are_kept_and_val_comes_out_of_train(tmp_path: Path) -> None:
    phantoms(tmp_path / "in", {"Train/mel": 20, "Train/nv": 20, "Test/mel": 5, "Test/nv": 5})
    found = assigned(tmp_path / "in", fractions={"train": 0.6, "val": 0.2, "test": 0.2})
    splits = {name: {row["split"] for n, row in found.items() if n.startswith(name)} for name in ("Train", "Test")}
    assert splits == {"Train": {"train", "val"}, "Test": {"test"}}
    for name in ("mel", "nv"):
        assert sum(row["split"] == "val" for n, row in found.items() if name in n) == 5, "a quarter of each class"


def test_what_lies_in_two_official_splits_stays_in_test_alone(tmp_path: Path) -> None:
    root = tmp_path / "in"
    phantoms(root, {"train/mel": 12, "train/nv": 12, "test/mel": 4, "test/nv": 4, "valid/mel": 4, "valid/nv": 4})
    copied, similar = next((root / "test/mel").iterdir()), next((root / "test/nv").iterdir())
    (root / "train/mel/copy.png").write_bytes(copied.read_bytes())
    Image.open(similar).save(root / "valid/nv/similar.webp", quality=95)
    Image.open(similar).save(root / "train/nv/similar.webp", quality=90)
    found = assigned(root)
    assert found["train/mel/copy.png"]["reason"].startswith("exact duplicate of")
    assert found[f"test/mel/{copied.name}"]["split"] == found[f"test/nv/{similar.name}"]["split"] == "test"
    for name, split in (("valid/nv/similar.webp", "val"), ("train/nv/similar.webp", "train")):
        reason = f"{split} row whose patient, lesion or near duplicate is in the official test split"
        assert (found[name]["status"], found[name]["reason"], found[name]["split"]) == ("rejected", reason, None)
    assert sum(row["status"] == "ok" for row in found.values()) == 40
    assert all(row["split"] == official_name(name.split("/")[0]) for name, row in found.items() if row["split"])


def test_every_file_of_a_folder_is_a_row(tmp_path: Path) -> None:
    root = tmp_path / "in"
    phantoms(root, {"mel": 4, "nv": 4})
    picture = Image.open(next((root / "mel").iterdir()))
    for i, kind in enumerate(("jpg", "JFIF", "webp", "tiff", "bmp", "mpo", "gif")):
        picture.rotate(20 * i + 20).save(
            root / "mel" / f"a.{kind}", {"jpg": "JPEG", "JFIF": "JPEG"}.get(kind, kind.upper())
        )
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "nv" / "no-extension", "PNG")
    picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(root / "nv" / "what? #1.png")
    (root / "nv" / "text.jpg").write_text("I am no image")
    (root / "nv" / "empty.png").write_bytes(b"")
    (root / "t.csv").write_text("a,b")
    (root / ".DS_Store").write_bytes(b"x")
    found = assigned(root)
    assert len(found) == 8 + 7 + 2 + 4
    assert {name: row["reason"] for name, row in found.items() if row["status"] != "ok"} == {
        "nv/text.jpg": "not an image: expected JPEG, PNG, WebP, TIFF, BMP or GIF",
        "nv/empty.png": "empty file",
        "t.csv": "no image by its name (.csv)",
        ".DS_Store": "hidden file or folder",
    }
