"""What an evaluation refuses before it computes: no image to look at, on either side."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray.config import validate
from dermray.evaluation.run import synthetic_results
from dermray.evaluation.samples import require_real
from dermray.evaluation.settings import EvaluationConfig
from dermray.manifest import Manifest, Result, Rows


def result(place: Path, stage: str, rows: Rows) -> Result:
    about = Manifest(
        stage=stage, key="k", config={}, inputs={}, data="data", rows=rows, versions={}, started=0, seconds=0, cpus=0,
        gpus=0,
    )  # fmt: skip
    (place / "data" / "rows").mkdir(parents=True)
    (place / "manifest.json").write_text(about.model_dump_json())
    return Result(str(place), about)


def test_a_source_without_a_usable_image_is_told_with_its_reasons(tmp_path: Path) -> None:
    reasons = {"rejected: a copy of a training image by its pixels": 60}
    result(tmp_path / "copies", "generate", Rows(rows_in=60, ok=0, rejected=60, failed=0, reasons=reasons))
    sources = {"copies": f"{tmp_path}/copies"}
    config = validate(EvaluationConfig, {"output": "o", "rows": "r", "synthetic": sources})
    told = r"copies: none of 60 images is usable \(60 rejected: a copy of a training image by its pixels\); give"
    with pytest.raises(ValueError, match=told):
        synthetic_results(config)


@pytest.mark.parametrize(
    ("real", "split", "told"),
    [
        ("held_out", "train", r"rows=my/rows: no usable real image of the val or test split .*give real=train"),
        ("train", "test", "no usable real image of the train split"),
    ],
)
def test_real_images_of_another_split_alone_are_told(real: str, split: str, told: str, tmp_path: Path) -> None:
    rows = result(tmp_path / "rows", "caption", Rows(rows_in=1, ok=1, rejected=0, failed=0))
    table = pa.table({"status": ["ok"], "origin": ["real"], "split": [split]})
    pq.write_table(table, tmp_path / "rows" / "data" / "rows" / "0.parquet")
    given = {"output": "o", "rows": "my/rows", "synthetic": "s"}
    with pytest.raises(ValueError, match=told):
        require_real(rows, validate(EvaluationConfig, given | {"real": real}))
    require_real(rows, validate(EvaluationConfig, given | {"real": "all"}))
