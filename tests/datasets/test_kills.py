"""An ingest that is killed anywhere goes on when it is started again, with the rows of one that was left in peace.

tests/soak has a cut of such faults for every run of the tests.
"""

from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from dermray import manifest
from dermray.config import load
from dermray.datasets import ingest
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.manifest import Result
from dermray.records import IMAGES, read_columns
from tests.chaos import survived

BLOCK = 1 << 16  # bytes: 2 phantoms


def written(folder: Path, phantoms: int, files: int) -> None:
    """A config of phantoms, of class folders, and of a table of the same files: each of these is there twice."""
    for i in range(files):
        row = phantom_row(i, SourceConfig(count=files, size=48, seed=1, duplicates=0, broken=0.02))
        place = folder / "images" / ("mel" if row["malignant"] else "nv") / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(row["image"])
    names = [f"{file.parent.name}/{file.name}" for file in sorted((folder / "images").rglob("*.png"))]
    lines = [f"{name},{name[0]},p{i % 97}" for i, name in enumerate(names)] + ["gone.png,n,p1"]
    (folder / "table.csv").write_text("\n".join(["image,dx,patient", *lines]))
    classes = {"malignant_classes": ["mel"], "benign_classes": ["nv"]}
    table = {"table": "../table.csv", "columns": {"diagnosis": "dx", "patient_id": "patient"}, "name": "table"}
    table |= {"malignant_classes": ["m"], "benign_classes": ["n"]}
    sources = [
        {"source": "phantom", "count": phantoms, "size": 128, "bytes_per_block": BLOCK},
        {"source": "folder", "path": f"{folder}/images", **classes},
        {"source": "folder", "path": f"{folder}/images", **table},
    ]
    (folder / "config.yaml").write_text(yaml.safe_dump({"output": f"{folder}/out", "sources": sources}))


def rows_of(result: Result) -> pa.Table:
    """All columns of all rows, in the order of their names."""
    rows = read_columns(f"{result.data}/rows", IMAGES.names)
    return rows.sort_by([("source", "ascending"), ("source_id", "ascending")])


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_random_kills(local_ray: None, tmp_path: Path) -> None:
    _bears_kills(tmp_path, 10, ["worker", "driver", "node"], 1200, 600)


def _bears_kills(folder: Path, number: int, kinds: list[str], phantoms: int, files: int) -> None:
    written(folder, phantoms, files)
    kills = survived("tests.datasets.chaos", folder, number, ",".join(kinds))
    assert len(kills) == number and set(kills) == set(kinds)
    result = manifest.read(f"{folder}/out")
    undisturbed = ingest.run(load(ingest.IngestConfig, folder / "config.yaml", [f"output={folder}/again"]))
    assert rows_of(result).equals(rows_of(undisturbed))
    told = result.manifest.rows
    assert told == undisturbed.manifest.rows and told.rows_in == phantoms + 2 * files + 1
    assert not (Path(result.data) / "raw").exists()
