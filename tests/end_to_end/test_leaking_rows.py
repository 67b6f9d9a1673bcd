"""No stage that learns from one split and judges by another takes rows of which a leak group lies in two."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray.config import ConfigError, validate
from dermray.evaluation import run as evaluation
from dermray.evaluation.settings import EvaluationConfig
from dermray.failures import plain_cause
from dermray.reader_study import build
from dermray.reader_study.settings import BuildConfig
from dermray.records import read_columns
from dermray.synthesis import run as synthesis
from dermray.synthesis.settings import SynthesisConfig
from dermray.training import run as training
from tests.classification import made_rows
from tests.reader_study import made


@pytest.fixture(scope="module")
def leaking(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run whose captions have one row of a training group in the test split."""
    run = tmp_path_factory.mktemp("leaking")
    for stage in ("caption", "train"):
        shutil.copytree(small_run / stage, run / stage)
    rows = read_columns(str(next(run.glob("caption/data-*/rows"))), ["leak_group", "split", "status"]).to_pylist()
    groups = [row["leak_group"] for row in rows if row["split"] == "train" and row["status"] == "ok"]
    group = next(name for name in groups if groups.count(name) > 1)
    for file in sorted(run.glob("caption/data-*/rows/**/*.parquet")):
        table = pq.read_table(file)
        names, splits = table["leak_group"].to_pylist(), table["split"].to_pylist()
        if group in names:
            splits[names.index(group)] = "test"
            place = table.schema.get_field_index("split")
            pq.write_table(table.set_column(place, "split", pa.array(splits, pa.string())), file)
            break
    return run


def refused(run: Any, cls: Any, config: dict[str, Any]) -> str:
    with pytest.raises(Exception, match="leak: group") as error:
        run(validate(cls, config))
    assert not isinstance(error.value, ConfigError) and not Path(config["output"], "manifest.json").exists()
    return str(plain_cause(error.value))


@pytest.mark.slow
def test_training_drawing_and_evaluating(leaking: Path, tmp_path: Path) -> None:
    rows = f"{leaking}/caption"
    model = {"image_size": 32, "width": 32, "blocks": 1, "stem_width": 8}
    config: dict[str, Any] = {
        "output": f"{tmp_path}/train",
        "rows": rows,
        "model": model,
        "loop": {"steps": 1, "batch_size": 8},
    }
    said = refused(training.run, training.TrainConfig, config)
    assert "lies in both 'train' and 'test'" in said and "Ingest again" in said
    config = {"output": f"{tmp_path}/generate", "rows": rows, "generator": f"{leaking}/train", "count": 4}
    refused(synthesis.run, SynthesisConfig, config)
    drawn = made_rows.generated(f"{tmp_path}/drawn", made.synthetic(1), trained_on="-")
    config = {"output": f"{tmp_path}/evaluate", "rows": rows, "synthetic": drawn.uri}
    refused(evaluation.run, EvaluationConfig, config)


def test_a_reader_study(tmp_path: Path) -> None:
    real = made.originals(2)
    stray = made_rows.phantoms(1, seed=8, split="train", leak_group=real[0]["leak_group"])
    given = made.inputs(str(tmp_path), [*real, *stray], made.synthetic(2))
    refused(build.run, BuildConfig, given | {"output": f"{tmp_path}/study", "originals_per_class": 1,
                                             "synthetic_per_class": 1, "side": made.SIDE})  # fmt: skip
