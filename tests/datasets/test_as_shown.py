"""An ingest of files as phones, archives and hospitals hand them out: what rows hold, count and refuse."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dermray import manifest
from dermray.config import ConfigError, validate
from dermray.datasets import ingest
from dermray.datasets.decode import inspect
from dermray.records import read_columns, sample_id
from tests.datasets.dicom_files import NAME, dataset, published, with_jpeg, written
from tests.datasets.test_decode import ADOBE_RGB, encoded
from tests.datasets.test_looking import turned

CREATIVE = "CC-BY-4.0"


def picture(seed: int, width: int = 160, height: int = 140) -> Image.Image:
    """One like no other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def config(folder: Path, **more: Any) -> ingest.IngestConfig:
    source = {"source": "folder", "path": f"{folder}/images", "malignant_classes": ["mel"], "benign_classes": ["nv"]}
    licence = more.pop("licence", CREATIVE)
    given = {"output": f"{folder}/out", "sources": [source | {"licence": licence}], "min_side": 128, **more}
    return validate(ingest.IngestConfig, given)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    dermoscopy = np.asarray(picture(1))
    told = {
        "plain.jpg": encoded(picture(2), "JPEG"),
        "turned.jpg": encoded(picture(3), "JPEG", exif=turned(6)),
        "copy of turned.jpg": encoded(picture(3), "JPEG", exif=turned(6)),
        "adobe.png": encoded(picture(4), "PNG", icc_profile=ADOBE_RGB),
        "large.png": encoded(picture(5, 600, 520), "PNG"),
        "small.png": encoded(picture(6, 127, 300), "PNG"),
        "dermoscopy.dcm": written(dataset(dermoscopy)),
        "1.2.840.113619.2.55.3": with_jpeg(encoded(picture(7), "JPEG", quality=95), np.asarray(picture(7))),
        "film.dcm": published("SC_rgb_rle_2frame.dcm"),
    }
    return {f"nv/{name}": data for name, data in told.items()} | {
        f"mel/{i}.jpg": encoded(picture(100 + i), "JPEG") for i in range(12)
    }


@pytest.mark.slow
def test_rows_hold_what_everyone_sees(local_ray: None, tmp_path: Path, files: dict[str, bytes], capsys: Any) -> None:
    for name, data in files.items():
        place = tmp_path / "images" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    result = ingest.run(config(tmp_path))
    names = ["source_id", "status", "reason", "image", "sample_id", "original_id", "modification", "split", "licence"]
    rows = {row["source_id"]: row for row in read_columns(f"{result.data}/rows", names).to_pylist()}
    assert rows.keys() == files.keys()
    for name in ("nv/turned.jpg", "nv/adobe.png", "nv/dermoscopy.dcm", "nv/1.2.840.113619.2.55.3"):
        row, shown = rows[name], inspect(files[name]).image
        assert np.array_equal(np.asarray(inspect(row["image"]).image), np.asarray(shown))
        assert row["image"].startswith(b"\x89PNG") and row["modification"] and NAME.encode() not in row["image"]
        assert (row["sample_id"], row["original_id"]) == (sample_id(row["image"]), sample_id(files[name]))
    for name in ("nv/plain.jpg", "nv/large.png"):
        assert (rows[name]["image"], rows[name]["original_id"]) == (files[name], None)
    # one of two equal files stays, though neither holds its file's bytes
    turned_ones = [rows["nv/turned.jpg"], rows["nv/copy of turned.jpg"]]
    assert {row["sample_id"] for row in turned_ones} == {turned_ones[0]["sample_id"]}
    assert Counter(row["status"] for row in turned_ones) == {"ok": 1, "rejected": 1}
    assert rows["nv/small.png"]["reason"] == "a side shorter than 128 px (min_side) @ 127 x 300 px"
    assert (
        rows["nv/film.dcm"]["reason"].startswith("a DICOM file of several frames") and not rows["nv/film.dcm"]["image"]
    )
    told = result.manifest
    assert told.rows.reasons["rejected: a side shorter than 128 px (min_side)"] == 1
    assert told.metrics["modifications"] == {"DICOM": 2, "orientation 6": 1, "icc Adobe RGB (1998) to sRGB": 1}
    assert told.metrics["scales"] == {"folder": {"below 128": 0, "128": 17, "256": 0, "512": 1}}
    said = capsys.readouterr().out
    assert said.count("folder: shorter side below 128 px: 0, 128 px: 17, 256 px: 0, 512 px: 1 images") == 1
    assert told.licences == [CREATIVE]
    _commercial_use(tmp_path)


def _commercial_use(folder: Path) -> None:
    """A finished result answers a config that asks for commercial use only where its licences allow it; one whose
    table says what licences there are is refused when they are known, and leaves no manifest."""
    again = ingest.run(config(folder, commercial_use=True))
    assert again.manifest.started == manifest.read(f"{folder}/out").manifest.started, "the same result"
    table = ["image,dx,rights", *(f"mel/{i}.jpg,mel,{'CC-BY-NC' if i < 2 else CREATIVE}" for i in range(6))]
    (folder / "t.csv").write_text("\n".join([*table, *(f"mel/{i}.jpg,nv," for i in range(6, 12))]))
    given: dict[str, Any] = {
        "source": "folder",
        "path": f"{folder}/images",
        "table": f"{folder}/t.csv",
        "name": "clinic",
    }
    given |= {"columns": {"diagnosis": "dx", "licence": "rights"}, "other_classes_are": "benign"}
    asked = {"output": f"{folder}/mixed", "sources": [given], "commercial_use": True}
    with pytest.raises(ConfigError, match="commercial_use=true: 2 images of clinic: CC-BY-NC .non-commercial.*"
                                          "6 images of clinic: no licence is stated"):  # fmt: skip
        ingest.run(validate(ingest.IngestConfig, asked))
    with pytest.raises(FileNotFoundError, match="no finished result"):
        manifest.read(f"{folder}/mixed")
