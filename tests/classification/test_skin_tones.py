"""A classifier of skin tones trained on phantoms, which ingest then asks about phantoms whose tone nobody says."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dermray.classification import classify
from dermray.classification.classify_settings import ClassifyConfig
from dermray.classification.scorers import load_trained
from dermray.classification.skin_tones import ByClassifier, require
from dermray.config import validate
from dermray.datasets import ingest
from dermray.datasets.decode import decode, square
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.manifest import Result
from dermray.skin_tone.settings import judges_of
from tests.classification.made_rows import phantoms

NETWORK = {"backbone": {"name": "test_resnet", "learning_rate": 6e-3}, "image_size": 32}
COUNT = 40


@pytest.fixture(scope="module")
def trained(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    settings: dict[str, Any] = {"output": f"{tmp_path_factory.mktemp('tone')}/classify", "rows": f"{small_run}/ingest"}
    settings |= NETWORK | {"column": "skin_tone", "training": {"epochs": 12, "batch_size": 16}}
    return classify.run(validate(ClassifyConfig, settings))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms that the classifier has not seen; the table says the tone of every fourth, and says it wrong."""
    folder = tmp_path_factory.mktemp("folder")
    source, lines = SourceConfig(count=COUNT, size=64, seed=9, broken=0, duplicates=0), list[dict[str, Any]]()
    for number in range(COUNT):
        row = phantom_row(number, source)
        (folder / f"{number}.png").write_bytes(row["image"])
        wrong = {"A": 5, "B": 1, "C": 3}[row["skin_tone"]]
        lines.append({"file": f"{number}.png", "truth": row["skin_tone"], "fst": wrong if number % 4 == 0 else None})
    pd.DataFrame(lines).to_csv(folder / "table.csv", index=False)
    return folder


def ingested(folder: Path, output: Path, skin_tone: Any) -> tuple[Result, pd.DataFrame]:
    """An ingest of the folder, and its rows with what was drawn."""
    source = {"source": "folder", "path": str(folder), "table": "table.csv", "image_column": "file", "images": ".",
              "columns": {"fitzpatrick": "fst"}}  # fmt: skip
    config = {"output": str(output), "sources": [source], "skin_tone": skin_tone}
    result = ingest.run(validate(ingest.IngestConfig, config))
    truth = pd.read_csv(folder / "table.csv", index_col="file").truth
    rows = pq.read_table(f"{result.data}/rows").to_pandas().assign(file=lambda t: t.source_id.str.split("/").str[-1])
    return result, rows.join(truth, on="file")


def check(result: Result, rows: pd.DataFrame) -> None:
    """What holds for every way to estimate."""
    told = rows.fitzpatrick.notna()
    assert told.sum() == COUNT / 4 and (rows[told].skin_tone_source == "metadata").all()
    assert (rows[told].skin_tone != rows[told].truth).all(), "what people said stays, right or wrong"
    assert set(rows[~told].skin_tone_source) == {"estimated"} and rows[~told].fitzpatrick.isna().all()
    assert (rows[~told].skin_tone == rows[~told].truth).mean() > 0.9
    counted = (rows.skin_tone + " (" + rows.skin_tone_source + ")").value_counts().to_dict()
    assert result.manifest.metrics["skin_tones"] == counted and sum(counted.values()) == COUNT


@pytest.mark.slow
def test_ingest_asks_a_classifier(trained: Result, folder: Path, tmp_path: Path) -> None:
    result, rows = ingested(folder, tmp_path / "ingest", {"classifier": trained.uri})
    check(result, rows)
    assert result.manifest.inputs == {"skin_tone": trained.manifest.key}
    assert set(trained.manifest.licences) <= set(result.manifest.licences)
    again, _ = ingested(folder, tmp_path / "ingest", {"classifier": trained.uri})
    assert again.manifest == result.manifest, "its manifest answers"
    with pytest.raises(Exception, match="holds the result of other work"):
        ingested(folder, tmp_path / "ingest", "ita")


@pytest.mark.slow
def test_ingest_measures_the_angle(local_ray: None, folder: Path, tmp_path: Path) -> None:
    result, rows = ingested(folder, tmp_path / "ingest", "ita")
    check(result, rows)
    assert result.manifest.inputs == {} and result.manifest.config["skin_tone"] == "ita"


@pytest.mark.slow
def test_by_default_what_nobody_said_stays_unknown(local_ray: None, folder: Path, tmp_path: Path) -> None:
    result, rows = ingested(folder, tmp_path / "ingest", "metadata")
    assert rows.skin_tone.isna().sum() == result.manifest.metrics["skin_tones"]["unknown"] == COUNT * 3 / 4
    assert rows.skin_tone_source.isna().sum() == COUNT * 3 / 4


@pytest.mark.slow
def test_an_image_is_judged_alone_and_as_predict_does(trained: Result) -> None:
    model = f"{trained.data}/model"
    judge, scorer = ByClassifier(model), load_trained(model)
    images = [decode(row["image"]) for row in phantoms(12, seed=4)]
    _, together = scorer.judge(np.stack([square(image, scorer.image_size) for image in images]))
    assert [judge(image).tone for image in images] == [scorer.target.classes[number] for number in together]


@pytest.mark.slow
def test_a_classifier_of_something_else_is_refused(small_run: Path, trained: Result, tmp_path: Path) -> None:
    settings = {"output": f"{tmp_path}/sex", "rows": f"{small_run}/ingest", "column": "sex"} | NETWORK
    other = classify.run(validate(ClassifyConfig, settings | {"training": {"steps": 1}}))
    with pytest.raises(ValueError, match="tells female, male of column sex apart, expected A, B, C of skin_tone"):
        require(other, "skin_tone.classifier")
    require(trained, "skin_tone.classifier")
    given = validate(ingest.IngestConfig, {"output": "o", "sources": [{"source": "phantom", "count": 1, "size": 32}],
                                           "skin_tone": {"classifier": other.uri}})  # fmt: skip
    with pytest.raises(ValueError, match=r"skin_tone.classifier=.*train one by"):
        judges_of(given.skin_tone)
