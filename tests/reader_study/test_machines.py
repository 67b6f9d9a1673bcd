"""Classifiers on the readers' images, and readers beside them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn import metrics as sk
from statsmodels.stats.contingency_tables import mcnemar

from dermray import manifest, storage
from dermray.backbones.networks import Backbone, Classifier, network_of
from dermray.classification import saved
from dermray.classification.predictions import schema, score_columns
from dermray.classification.targets import Target
from dermray.config import validate
from dermray.datasets.decode import decode, square
from dermray.manifest import Result
from dermray.reader_study import analyse, key, machines
from dermray.reader_study.against import compare, compare_auc
from dermray.reader_study.key import Key
from dermray.reader_study.questions import questions
from dermray.reader_study.settings import AnalyseConfig
from dermray.records import ENTITIES
from tests.classification import made_rows
from tests.reader_study import made


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return made.built(str(tmp_path_factory.mktemp("machines")), 3)


def classifier(uri: str, target: Target, inputs: dict[str, str]) -> Classifier:
    """A result of the classify stage: a small network of random weights."""
    made_rows.result(uri, "classify", [], inputs)
    backbone = Backbone(name="test_resnet", weights="random", learning_rate=1e-3)
    torch.manual_seed(0)
    model = Classifier(network_of(backbone, target.outputs), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).eval()
    Path(uri, "data", "model").mkdir()
    saved.save(Path(uri, "data", "model"), saved.Saved(model, backbone, target, made.SIDE))
    return model


def predicted(uri: str, target: Target, ids: Sequence[str], scores: np.ndarray) -> None:
    """A result of the predict stage, of classifier c."""
    made_rows.result(uri, "predict", [], {"classifier": "c"})
    labels = [target.classes[number] for number in scores.argmax(1)]
    columns: dict[str, Any] = {
        "sample_id": ids,
        "label": labels,
        "status": ["ok"] * len(ids),
        "model": ["c"] * len(ids),
    }
    columns |= score_columns(target, scores)
    table = pa.table({f.name: pa.array(columns.get(f.name, [None] * len(ids)), f.type) for f in schema(target)})
    storage.delete_tree(f"{uri}/data/rows")
    Path(uri, "data", "rows").mkdir()
    pq.write_table(table, f"{uri}/data/rows/0.parquet")


def read(study: Result, *uris: str) -> list[machines.Machine]:
    opened = made.opened(study)
    asked = questions(opened.column, opened.classes)
    return machines.read(machines.results(uris), study, opened, asked)


def some_scores(told: Key, classes: int) -> np.ndarray:
    """(N, C): often right."""
    rng = np.random.default_rng(0)
    truth = np.array([told.classes.index(image.truth) for image in told.images])
    return rng.dirichlet(np.full(classes, 0.5), len(truth)) + 0.7 * (truth[:, None] == np.arange(classes))


def test_a_trained_classifier_scores_what_readers_saw(study: Result, tmp_path: Path) -> None:
    target = Target("entity", (*ENTITIES, "other"))  # one class more than readers had
    model = classifier(f"{tmp_path}/c", target, {"rows": "r", "synthetic": "generate"})
    [machine] = read(study, f"{tmp_path}/c")
    images = [square(decode(made.files(study)[f"images/{i.image}"]), made.SIDE) for i in made.opened(study).images]
    with torch.no_grad():
        expected = model(torch.from_numpy(np.array(images))).double().softmax(1).numpy()
    assert np.allclose(machine.scores, expected[:, :7], atol=1e-6)
    assert np.array_equal(machine.said, expected[:, :7].argmax(1)), "the best of the classes that readers had"
    assert machine.question.column == "entity" and machine.name == "c" and machine.seen is True
    classifier(f"{tmp_path}/d/c", target, {"rows": "r"})
    several = read(study, f"{tmp_path}/c", f"{tmp_path}/d/c")
    assert [(one.name, one.seen) for one in several] == [("c 1", True), ("c 2", False)]


def test_origins_are_told_apart_too(study: Result, tmp_path: Path) -> None:
    model = classifier(f"{tmp_path}/c", Target("origin", ("real", "synthetic")), {})
    [machine] = read(study, f"{tmp_path}/c")
    images = [square(decode(made.files(study)[f"images/{i.image}"]), made.SIDE) for i in made.opened(study).images]
    with torch.no_grad():
        expected = model(torch.from_numpy(np.array(images))).double().softmax(1).numpy()
    assert machine.question.classes == ("original", "AI") and np.allclose(machine.scores, expected, atol=1e-6)


def test_predictions_of_both_kinds_are_joined(study: Result, tmp_path: Path) -> None:
    told = made.opened(study)
    target = Target("entity", ENTITIES)
    scores = some_scores(told, 7)
    ai = np.array([image.origin == "AI" for image in told.images])
    ids = np.array([image.sample_id for image in told.images])
    for name, part in (("real", ~ai), ("synthetic", ai)):
        predicted(f"{tmp_path}/{name}", target, ids[part][::-1].tolist(), scores[part][::-1])
    [machine] = read(study, f"{tmp_path}/real", f"{tmp_path}/synthetic")
    assert np.array_equal(machine.scores, scores) and np.array_equal(machine.said, scores.argmax(1))
    assert machine.seen is None
    with pytest.raises(ValueError, match="21 of the study's 42 images have no score; give the results of predict for"):
        read(study, f"{tmp_path}/real")


def test_readers_and_a_classifier_from_end_to_end(study: Result, tmp_path: Path) -> None:
    told = made.opened(study)
    scores, ids = some_scores(told, 7), [image.sample_id for image in told.images]
    predicted(f"{tmp_path}/scores", Target("entity", ENTITIES), ids, scores)
    forms = [
        made.answer(study, tmp_path / "ada.csv"),
        made.answer(study, tmp_path / "bob.csv", lambda shown: {"entity": "nv", "origin": shown.origin}),
    ]
    config = {"study": study.uri, "answers": forms, "output": f"{tmp_path}/out", "resamples": 200}
    result = analyse.run(validate(AnalyseConfig, config | {"classifiers": [f"{tmp_path}/scores"]}))
    truth = np.array([told.classes.index(image.truth) for image in told.images])
    found = result.manifest.metrics
    its = found["classifiers"]["scores"]["subsets"]["whole set"]
    assert its["accuracy"]["value"] == pytest.approx(sk.accuracy_score(truth, scores.argmax(1)))
    compared = {(one["who"]["reader"], one["subset"]): one for one in found["comparisons"]}
    assert len(compared) == 6, "two readers, three sets of images"
    right = truth == scores.argmax(1)
    table = [[int((right & (truth == 5)).sum()), int((~right & (truth == 5)).sum())],
             [int((right & (truth != 5)).sum()), int((~right & (truth != 5)).sum())]]  # fmt: skip
    bob = compared["bob", "whole set"]
    assert bob["p"] == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert bob["difference"] == pytest.approx(1 / 7 - right.mean()) and bob["low"] < bob["difference"] < bob["high"]
    assert bob["p_corrected"] >= bob["p"] and bob["auc"] is None
    ada = compared["ada", "whole set"]
    assert ada["difference"] == pytest.approx(1 - right.mean()) and ada["classifier_alone"] == 0
    mean = found["all_readers"]["entity"]["whole set"]
    assert mean["value"] == pytest.approx((1 + 1 / 7) / 2) and mean["low"] < mean["value"] < mean["high"]
    assert "mean of readers  entity " in found["summary"]
    page = Path(result.data, "reader_study.html").read_text()
    assert "Readers against classifiers" in page and "scores of <code>predict</code> do not tell" in page
    assert storage.exists(f"{result.data}/pictures/against-scores.png")
    assert "bob - scores, entity, whole set: -0." in found["summary"]
    assert json.loads(storage.read_bytes(f"{result.data}/analysis.json"))["comparisons"] == found["comparisons"]


def test_aucs_are_compared_by_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 90)
    better, worse = (rng.normal(size=(90, 3)) + shift * (truth[:, None] == np.arange(3)) for shift in (2.0, 0.5))
    found = compare_auc(truth, better, worse, 300, 0)
    assert found is not None and 0 < found["low"] < found["difference"] < found["high"]
    aucs = [np.mean([sk.roc_auc_score(truth == k, s[:, k]) for k in range(3)]) for s in (better, worse)]
    assert found["difference"] == pytest.approx(aucs[0] - aucs[1])
    assert compare_auc(np.zeros(5, int), better[:5], worse[:5], 100, 0) is None


def test_only_answered_images_are_compared() -> None:
    truth, reader, machine = np.array([0, 1, 1, 0]), np.array([0, -1, 0, 0]), np.array([1, 0, 1, 0])
    found = compare(truth, reader, machine, 100, 0)
    assert found is not None and found["images"] == 3 and (found["reader"], found["classifier"]) == (2 / 3, 2 / 3)
    assert compare(truth, np.full(4, -1), machine, 100, 0) is None


def test_what_is_no_classifier_of_this_study(study: Result, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"result of stage 'reader-study build', expected one of \('classify'"):
        machines.results([study.uri])
    classifier(f"{tmp_path}/c", Target.of("malignant"), {})
    with pytest.raises(ValueError, match="classifiers=c: tells benign, malignant apart; expected akiec, bcc"):
        read(study, f"{tmp_path}/c")
    with pytest.raises(FileNotFoundError, match="does not exist; run the stage before"):
        machines.results([f"{tmp_path}/nowhere"])


def test_images_that_were_changed_are_not_scored(tmp_path: Path) -> None:
    study = made.built(str(tmp_path), 1)
    classifier(f"{tmp_path}/c", Target("entity", ENTITIES), {})
    folder = Path(study.data, key.READERS, "images")
    (folder / "002.png").write_bytes((folder / "001.png").read_bytes())
    with pytest.raises(ValueError, match=r"002.png: not the image that the study was built with; put it back"):
        read(manifest.read(study.uri), f"{tmp_path}/c")
