"""Every preset of the ISIC family through ingest at once, as a user runs them: small trees in the published layouts."""

import io
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from dermray.config import validate
from dermray.datasets import ingest
from dermray.datasets.milk10k import CLASSES
from dermray.datasets.sources import source
from dermray.records import read_columns, sample_id
from tests.datasets import published as p
from tests.datasets import test_isic_2017, test_isic_2018, test_isic_2019, test_isic_2024, test_isic_archive

NAMES = ["isic_2016", "isic_2017", "isic_2018", "isic_2019", "isic_2020", "isic_2024", "isic_archive", "bcn20000",
         "derm12345", "hiba", "milk10k"]  # fmt: skip
ARCHIVE = p.ARCHIVE + test_isic_archive.line("ISIC_1", test_isic_archive.MEL) + test_isic_archive.line(
    "ISIC_2", test_isic_archive.NEVUS, rest="IL_2,IP_2,male"
)  # fmt: skip
MILK_CLASSES = f"lesion_id,{','.join(CLASSES)}\nIL_1,{','.join(str(int(c == 'BCC')) for c in CLASSES)}\n"
TABLES: dict[str, dict[str, str]] = {
    "isic_2016": {"isic_2016_train": "ISIC_1,benign\nISIC_2,malignant\n", "isic_2016_test": "ISIC_3,0.0\nISIC_4,1.0\n"},
    "isic_2020": {
        "ISIC_2020_Training_GroundTruth.csv": "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,"
        "diagnosis,benign_malignant,target\nISIC_1,IP_1,male,45.0,torso,unknown,benign,0\n"
    },
    "isic_archive": {"archive": ARCHIVE},
    "hiba": {"archive": ARCHIVE},
    "bcn20000": {
        "bcn20000": p.BCN + "BCN_1.jpg,55,torso,MEL,BCN_1,2012,male,train\nBCN_2.jpg,55,torso,NV,BCN_2,2012,,train\n",
        "bcn20000_test": p.BCN.replace("diagnosis,", "") + "BCN_3.jpg,55,torso,BCN_3,2012,male,test\n",
    },
    "derm12345": {
        "derm12345": p.DERM + "D_1\tP_1\tacb\t\tbenign\t\t\t\nD_2\tP_2\tmel\t\tmalignant\t\t\t\n",
        "derm12345_test": p.DERM + "D_3\tP_1\tacb\t\tbenign\t\t\t\n",  # a patient of the training set
    },
    "milk10k": {
        "milk10k": p.MILK + "IL_1,clinical: close-up,ISIC_1,M,CC-BY-NC,altered,70,male,1,trunk\n"
        "IL_1,dermoscopic,ISIC_2,M,CC-BY-NC,instrument only,70,male,1,trunk\n",
        "milk10k_truth": MILK_CLASSES,
        "milk10k_words": "isic_id,diagnosis_full\nISIC_1,Basal cell carcinoma\nISIC_2,Basal cell carcinoma\n",
        "milk10k_test": p.MILK + "IL_9,dermoscopic,ISIC_9,M,CC-BY-NC,altered,70,male,1,trunk\n",
    },
}
TREES = {"isic_2017": test_isic_2017.tree, "isic_2018": test_isic_2018.tree, "isic_2019": test_isic_2019.tree,
         "isic_2024": test_isic_2024.table}  # fmt: skip


def jpeg(seed: int) -> bytes:
    """An image like no other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(stream, "JPEG")
    return stream.getvalue()


def layouts(folder: Path) -> list[dict[str, Any]]:
    """All trees with their tables and images, and the sources of their presets."""
    given = []
    for name in NAMES:
        place = folder / name
        if name in TREES:
            TREES[name](place)
        else:
            p.write(place, **TABLES[name])
        given += p.preset_sources(name, place)
    return given


def with_images(given: list[dict[str, Any]]) -> None:
    """An image where each row says that its own lies: as a file, or in the HDF5 file."""
    for number, settings in enumerate(given):
        module = source(settings["source"])
        if settings["source"] == "isic_2024":
            with h5py.File(Path(settings["path"], settings["hdf5"]), "w") as file:
                for i, name in enumerate(("ISIC_0015670", "ISIC_0015845", "ISIC_0015864", "ISIC_0082829")):
                    file[name] = np.void(jpeg(9000 + i))
            continue
        config = module.SourceConfig(**{k: v for k, v in settings.items() if k != "source"})
        for i, row in enumerate(row for row in p.rows_of_config(module, config) if "uri" in row):
            Path(row["uri"]).parent.mkdir(parents=True, exist_ok=True)
            Path(row["uri"]).write_bytes(jpeg(100 * number + i))


@pytest.mark.slow
def test_all_presets_of_the_family_in_one_ingest(local_ray: None, tmp_path: Path) -> None:
    given = layouts(tmp_path)
    with_images(given)
    old = tmp_path / "old"
    (old / "Descriptions").mkdir(parents=True)
    (old / "Images").mkdir()
    (old / "Descriptions" / "ISIC_9000000").write_text(json.dumps(test_isic_archive.OLD))
    (old / "Images" / "ISIC_9000000.jpeg").write_bytes(jpeg(7777))
    given.append({"source": "isic_archive", "path": str(old), "descriptions": "Descriptions", "images": "Images",
                  "extension": ".jpeg", "split": "train"})  # fmt: skip
    result = ingest.run(validate(ingest.IngestConfig, {"output": f"{tmp_path}/out", "sources": given}))
    names = ["source", "source_id", "malignant", "entity", "split", "status", "reason", "image", "sample_id"]
    rows = read_columns(f"{result.data}/rows", names).to_pylist()
    by_name = {(row["source"], row["source_id"]): row for row in rows}
    assert {row["source"] for row in rows} == set(NAMES)
    bad = {key: row["reason"] for key, row in by_name.items() if row["status"] != "ok"}
    assert bad.pop(("isic_2018", "ISIC_0035068")).startswith("synthetic image, by the archive @ ")
    # the training image of a patient who is in the test set too
    assert bad.pop(("derm12345", "D_1")).startswith(
        "train row whose patient, lesion or near duplicate is in the official"
    )
    assert not bad, bad
    official = [("isic_2016", "ISIC_3"), ("isic_2016", "ISIC_4"), ("isic_2017", "ISIC_0012086"), ("milk10k", "ISIC_9"),
                ("isic_2018", "ISIC_0034524"), ("isic_2019", "ISIC_0034321"), ("isic_2019", "ISIC_0034322"),
                ("bcn20000", "BCN_3.jpg"), ("derm12345", "D_3")]  # fmt: skip
    assert all(by_name[key]["split"] == "test" for key in official)
    assert by_name["isic_2017", "ISIC_0001769"]["split"] == by_name["isic_2018", "ISIC_0034321"]["split"] == "val"
    crop = by_name["isic_2024", "ISIC_0082829"]
    assert crop["image"] == jpeg(9003) and crop["sample_id"] == sample_id(crop["image"]) and crop["malignant"] is True
    assert by_name["milk10k", "ISIC_1"]["split"] == by_name["milk10k", "ISIC_2"]["split"]
    assert by_name["isic_archive", "ISIC_9000000"]["entity"] == "nv"
    facts = {fact["source"]: fact for fact in result.manifest.metrics["sources"]}
    assert facts["isic_2024"]["hdf5"]["images"] == 4 and facts["milk10k"]["table"]["rows"] == 1
