"""One classifier trained and asked, through the stages' own doors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import accuracy_score, roc_auc_score

from dermray import manifest
from dermray.backbones.networks import input_of, network_of
from dermray.classification import calibration, classify, pixel_store, predict, saved
from dermray.classification.classify import measured
from dermray.classification.classify_settings import ClassifyConfig
from dermray.classification.predict import PredictConfig
from dermray.classification.targets import Target
from dermray.config import PRESETS, load, validate
from dermray.manifest import Result
from tests.classification.made_rows import generated, phantoms, result

NANO = {"name": "test_resnet", "learning_rate": 6e-3}


def config(run: Path, output: Path, **given: Any) -> ClassifyConfig:
    usual = {"output": str(output), "rows": f"{run}/ingest", "backbone": NANO, "image_size": 32}
    return validate(ClassifyConfig, usual | {"training": {"epochs": 2, "keep": "best"}} | given)


@pytest.mark.parametrize("preset", sorted(path.stem for path in (PRESETS / "classify").glob("*.yaml")))
def test_presets_name_networks_that_there_are(preset: str) -> None:
    settings = load(ClassifyConfig, PRESETS / "classify" / f"{preset}.yaml")
    outputs, size = (7 if settings.column == "entity" else 1), settings.image_size or input_of(settings.backbone).size
    assert size == {"nano": 32, "small_cnn": 128, "inception": 299}.get(preset, 224)
    with torch.device("meta"):
        network = network_of(settings.backbone, outputs).eval()
        assert network(torch.zeros(1, 3, size, size)).shape == (1, outputs)


def test_metrics_of_several_classes_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), 60)
    target = Target("entity", ("a", "b", "c"))
    found = measured(labels, scores, ["A"] * 60, target)["overall"]
    assert found["auc"] == pytest.approx(np.mean([roc_auc_score(labels == c, scores[:, c]) for c in range(3)]))
    assert found["accuracy"] == accuracy_score(labels, scores.argmax(1)) and found["images"] == 60
    lacking = labels > 0
    found = measured(labels[lacking], scores[lacking], ["A"] * int(lacking.sum()), target)
    assert found["classes"]["a"]["auc"] is None


@pytest.fixture(scope="module")
def trained(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return classify.run(config(small_run, tmp_path_factory.mktemp("classify") / "result"))


@pytest.mark.slow
def test_classify_trains_tests_and_cleans_up(trained: Result, small_run: Path) -> None:
    rows, told = manifest.read(f"{small_run}/ingest").manifest.rows, trained.manifest.metrics
    assert trained.manifest.rows.rows_in == rows.ok == sum(sum(split.values()) for split in told["images"].values())
    assert len(told["history"]) == 2 and told["best_epoch"] in (1, 2)
    assert sorted(path.name for path in Path(trained.data).iterdir()) == ["model", "predictions.parquet"]
    table = pq.read_table(f"{trained.data}/predictions.parquet").to_pandas()
    test = table[table.split == "test"]
    assert told["test"]["overall"]["auc"] == pytest.approx(
        roc_auc_score(test.truth == "malignant", test.score_malignant)
    )
    assert np.allclose(table.score_benign + table.score_malignant, 1)
    again = classify.run(config(small_run, Path(trained.uri)))
    assert again.manifest == trained.manifest, "its manifest answers"


@pytest.mark.slow
def test_what_validation_says_is_kept_beside_the_weights(trained: Result) -> None:
    told = saved.load(f"{trained.data}/model").validated
    table = pq.read_table(f"{trained.data}/predictions.parquet").to_pandas()
    val = table[table.split == "val"]
    labels, scores = (val.truth == "malignant").to_numpy(), val[["score_benign", "score_malignant"]].to_numpy()
    assert told.calibration == calibration.fit(labels.astype(int), scores), "by the validation split and nothing else"
    point, outliers = told.operating_point, told.outliers
    assert point is not None and (point.malignant, point.benign) == (labels.sum(), (~labels).sum())
    called = told.calibration.scale(scores)[:, 1] >= point.threshold
    assert (point.sensitivity, point.specificity) == (called[labels].mean(), (~called[~labels]).mean())
    images = trained.manifest.metrics["images"]
    assert outliers is not None and outliers.images == len(val)
    assert len(outliers.bank) == sum(images["train"].values())


@pytest.mark.slow
def test_predict_says_of_each_image_what_the_training_said(trained: Result, small_run: Path, tmp_path: Path) -> None:
    settings = {"output": f"{tmp_path}/p", "classifier": trained.uri, "rows": f"{small_run}/ingest", "actors": 1}
    result = predict.run(validate(PredictConfig, settings | {"batch_size": 50}))
    table = pq.read_table(f"{result.data}/rows").to_pandas().set_index("sample_id")
    rows = manifest.read(f"{small_run}/ingest").manifest.rows
    assert len(table) == rows.ok == result.manifest.rows.ok and table.index.is_unique
    assert set(table.model) == {trained.manifest.key} and set(table.status) == {"ok"}
    said = saved.load(f"{trained.data}/model").validated.calibration
    assert said is not None
    assert (table.label == np.where(table.score_malignant >= said.threshold, "malignant", "benign")).all()
    before = pq.read_table(f"{trained.data}/predictions.parquet").to_pandas().set_index("sample_id")
    same, scaled = table.loc[before.index], said.scale(before[["score_benign", "score_malignant"]].to_numpy())
    assert np.allclose(same.score_malignant, scaled[:, 1], atol=1e-5) and (same.truth == before.truth).all()


@pytest.mark.slow
def test_a_prediction_that_was_cut_short_goes_on(
    trained: Result, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"output": f"{tmp_path}/predict", "classifier": trained.uri, "rows": f"{small_run}/ingest", "actors": 1,
             "batch_size": 16}  # fmt: skip

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(predict, "tally", interrupted)  # all is scored, nothing is told yet
        with pytest.raises(KeyboardInterrupt):
            predict.run(validate(PredictConfig, asked))
    [data] = tmp_path.glob("predict/data-*")
    written = {path: path.stat().st_mtime_ns for path in data.glob("rows/*.parquet")}
    result = predict.run(validate(PredictConfig, asked))
    usable = manifest.read(f"{small_run}/ingest").manifest.rows.ok
    assert result.manifest.rows.ok == result.manifest.rows.rows_in == usable
    assert {path: path.stat().st_mtime_ns for path in Path(result.data).glob("rows/*.parquet")} == written


@pytest.mark.slow
def test_a_search_trains_with_the_best_of_what_it_tried(small_run: Path, tmp_path: Path) -> None:
    search = {"trials": 3, "learning_rate": [1e-4, 1e-2], "augmentation": ["none", "flips"], "concurrent": 3}
    result = classify.run(config(small_run, tmp_path / "result", search=search))
    tried = result.manifest.metrics["search"]
    losses = [trial["validation_loss"] for trial in tried]
    assert len(tried) == 3 and losses == sorted(losses) and len({trial["learning_rate"] for trial in tried}) == 3
    assert all(1e-4 <= trial["learning_rate"] <= 1e-2 and 1 <= trial["epochs"] <= 2 for trial in tried)
    about = json.loads(Path(f"{result.data}/model/config.json").read_text())
    assert about["dermray"]["backbone"]["learning_rate"] == tried[0]["learning_rate"]
    best = min(line["validation_loss"] for line in result.manifest.metrics["history"])
    assert best == pytest.approx(losses[0]), "the same training again"
    assert sorted(path.name for path in Path(result.data).iterdir()) == ["model", "predictions.parquet"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"column": "diagnose"}, "column=diagnose: no label column"),
        ({"column": "entity"}, "column=entity: expected at least two classes, each once, got other; take another"),
        ({"backbone": NANO | {"name": "vit_tiny_patch16_224"}}, r"at 32 px .* arguments=\{img_size: 32\}"),
        ({"backbone": NANO | {"weights": "OTHER"}}, "these are not the weights of test_resnet"),
        ({"rows": "TRAIN"}, "result of stage 'train', expected one of"),
    ],
)
def test_what_cannot_be_trained_is_told_before_images_are_decoded(
    given: dict[str, Any], message: str, small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixel_store, "fill", lambda *_: pytest.fail("images were decoded"))
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    named = {"OTHER": f"{tmp_path}/other.safetensors", "TRAIN": f"{small_run}/train"}
    text = json.dumps(given)
    for name, place in named.items():
        text = text.replace(name, place)
    with pytest.raises(ValueError, match=message):
        classify.run(config(small_run, tmp_path / "result", **json.loads(text)))


def test_synthetic_images_of_a_generator_that_may_have_seen_the_test_split_are_refused(tmp_path: Path) -> None:
    result(f"{tmp_path}/ingest", "ingest", phantoms(20))
    generated(f"{tmp_path}/drawn", phantoms(8, seed=9, origin="synthetic", split="train"), "others")
    with pytest.raises(ValueError, match=r"drawn: its generator was trained on other rows \(key others, these are ing"):
        classify.run(config(tmp_path, tmp_path / "result", synthetic=f"{tmp_path}/drawn"))
