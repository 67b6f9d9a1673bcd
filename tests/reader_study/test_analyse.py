"""From a form that is filled in to the numbers, held to paper 000's and to scikit-learn."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from dermray import manifest, storage
from dermray.config import validate
from dermray.manifest import Result
from dermray.reader_study import analyse
from dermray.reader_study.key import Key, Shown
from dermray.reader_study.settings import AnalyseConfig
from tests.conftest import call_cli
from tests.reader_study import made, paper


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """140 images, as in the paper."""
    return made.built(str(tmp_path_factory.mktemp("paper")), 10)


def of_paper(key: Key) -> Any:
    """What the paper's dermatologist says of an image."""
    answers = zip(key.images, paper.entities(key.images), paper.origins(key.images), strict=True)
    by_name = {image.image: {"entity": entity, "origin": origin} for image, entity, origin in answers}
    return lambda shown: by_name[shown.image]


def run(study: Result, output: Path, *answers: str, **settings: Any) -> Result:
    config = {"study": study.uri, "answers": list(answers), "output": str(output), "resamples": 200} | settings
    return analyse.run(validate(AnalyseConfig, config))


def test_the_papers_numbers(study: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = made.opened(study)
    form = made.answer(study, tmp_path / "dermatologist.csv", of_paper(key))
    code, said, error = call_cli(
        capsys, "reader-study", "analyse", "--config", "reader-study/analyse", f"study={study.uri}",
        f"answers=[{form}]", f"output={tmp_path}/out",
    )  # fmt: skip
    assert code == 0, error
    found = storage.read_bytes
    shares = {line.split()[1]: re.findall(r"(\d\.\d\d) \(", line) for line in said.splitlines() if "(" in line[:60]}
    assert shares["entity"] == ["0.64", "0.89", "0.40"], "whole set, AI, originals"
    assert shares["origin"][0] == "0.96"

    def table(title: str) -> dict[str, list[float]]:
        lines = said.split(f"dermatologist, {title}\n")[1].split("\n\n")[0].splitlines()[1:]
        rows = [line for line in lines if not line.startswith("page")]
        return {row[:14].strip(): [float(cell) for cell in re.sub(r"\(.*", "", row[14:]).split()] for row in rows}

    whole = table("entity, whole set")
    assert whole["vasc"][:3] == [0.82, 0.90, 0.86] and whole["nv"][:3] == [0.62, 0.50, 0.56]
    assert whole["bkl"][:2] == [0.46, 0.85]
    assert whole["macro avg"][2] == whole["weighted avg"][2] == 0.64
    origin = table("origin, whole set")
    assert origin["original"][:2] == [0.99, 0.94] and origin["AI"][:2] == [0.95, 0.99]
    assert origin["macro avg"][2] == origin["weighted avg"][2] == origin["accuracy"][0] == 0.96

    # scikit-learn on the paper's lists
    result = manifest.read(f"{tmp_path}/out")
    measured = json.loads(found(f"{result.data}/analysis.json"))["readers"]["dermatologist"]["questions"]
    for subset in ("whole set", "AI", "original"):
        inside = [i for i, image in enumerate(key.images) if subset in ("whole set", image.origin)]
        truth = [key.images[i].truth for i in inside]
        named = [paper.entities(key.images)[i] for i in inside]
        report = sk.classification_report(truth, named, output_dict=True, zero_division=0)
        assert measured["entity"][subset]["report"] == report
        assert measured["entity"][subset]["confusion"] == sk.confusion_matrix(truth, named).tolist()
        for name in key.classes:
            auc = sk.roc_auc_score(np.array(truth) == name, np.array(named) == name)
            assert measured["entity"][subset]["auc"]["classes"][name]["value"] == pytest.approx(auc)


def test_everything_is_written(study: Result, tmp_path: Path) -> None:
    key = made.opened(study)
    careless = made.answer(study, tmp_path / "b c.csv", lambda shown: {"entity": "nv", "origin": "AI"})
    result = run(study, tmp_path / "out", made.answer(study, tmp_path / "a.csv", of_paper(key)), careless)
    names = {uri.removeprefix(f"{result.data}/") for uri in storage.list_files(result.data)}
    subsets = ("whole-set", "AI", "original")
    pictures = {f"confusion-{who}-entity-{subset}" for who in ("a", "b-c") for subset in subsets}
    pictures |= {f"{kind}-{who}-{what}" for kind, who, what in (("roc", "a", "entity"), ("roc", "b-c", "origin"))}
    assert {f"pictures/{name}.png" for name in pictures} < names
    page = Path(result.data, "reader_study.html").read_text()
    assert page.count("<img") == sum(name.startswith("pictures/") for name in names)
    assert "curves and AUCs are of the hard answers" in page and "0.64 (" in page
    with open(f"{result.data}/answers.csv", newline="") as file:
        joined = list(csv.DictReader(file))
    truths = [(image.image, image.truth, image.origin) for image in key.images]
    assert [(line["image"], line["true_entity"], line["true_origin"]) for line in joined] == truths
    assert [line["a_entity"] for line in joined] == paper.entities(key.images)
    with open(f"{result.data}/reports.csv", newline="") as file:
        reports = {(r["who"], r["question"], r["subset"], r["class"]): r for r in csv.DictReader(file)}
    assert float(reports["a", "entity", "whole set", "vasc"]["recall"]) == 0.9
    assert float(reports["b c", "entity", "AI", "nv"]["precision"]) == pytest.approx(1 / 7)
    with open(f"{result.data}/accuracies.csv", newline="") as file:
        shares = {(r["who"], r["question"], r["subset"]): r for r in csv.DictReader(file)}
    assert float(shares["b c", "origin", "AI"]["accuracy"]) == 1.0
    assert float(shares["b c", "origin", "AI"]["low"]) == pytest.approx(0.025 ** (1 / 70)), "exact, not 1 to 1"
    found = result.manifest.metrics["agreement"]["entity"]["whole set"]
    mine = paper.entities(key.images)
    assert found["pairs"][0]["kappa"] == pytest.approx(sk.cohen_kappa_score(mine, ["nv"] * 140))
    assert result.manifest.rows.rows_in == result.manifest.rows.ok == 280
    assert result.manifest.metrics["readers"]["a"]["by_class"][0]["class"] == "akiec"
    assert run(study, tmp_path / "out", f"{tmp_path}/a.csv", careless).manifest == result.manifest


def test_confidences_make_curves(study: Result, tmp_path: Path) -> None:
    """Who is surer where right has a higher AUC than the hard answers, by scikit-learn on the same scores."""
    key, hard = made.opened(study), of_paper(made.opened(study))

    def sure(shown: Shown) -> dict[str, str]:
        said = hard(shown)
        right = {"entity": said["entity"] == shown.truth, "origin": said["origin"] == shown.origin}
        return said | {f"{name}_confidence": "90%" if is_right else "10" for name, is_right in right.items()}

    some = {image.image for image in key.images[:5]}
    gaps = made.answer(study, tmp_path / "gaps.csv", lambda s: sure(s) if s.image not in some else hard(s))
    full, plain = made.answer(study, tmp_path / "full.csv", sure), made.answer(study, tmp_path / "plain.csv", hard)
    readers = run(study, tmp_path / "out", full, plain, gaps).manifest.metrics["readers"]
    whole = {name: reader["questions"]["origin"]["whole set"] for name, reader in readers.items()}
    aucs = {name: measured["auc"]["classes"]["AI"] for name, measured in whole.items()}
    said = [hard(image)["origin"] for image in key.images]
    truth = np.array([image.origin == "AI" for image in key.images])
    right = np.array([image.origin == word for image, word in zip(key.images, said, strict=True)])
    score = np.where(np.array(said) == "AI", 1, -1) * np.where(right, 90, 10)
    assert aucs["full"]["value"] == pytest.approx(sk.roc_auc_score(truth, score)) and aucs["full"]["value"] > 0.98
    assert aucs["plain"]["value"] == aucs["gaps"]["value"] == pytest.approx((69 + 66) / 140)
    assert readers["full"]["confidence"]["origin"] and not readers["gaps"]["confidence"]["origin"]
    assert aucs["plain"]["low"] < aucs["plain"]["value"] < aucs["plain"]["high"]


def test_images_without_an_answer(study: Result, tmp_path: Path) -> None:
    key, hard = made.opened(study), of_paper(made.opened(study))
    open_ = {image.image for image in key.images[:3]}
    form = made.answer(study, tmp_path / "a.csv", lambda s: {"origin": "AI"} if s.image in open_ else hard(s))
    with pytest.raises(ValueError, match=r"a: 3 images have no answer in column entity \(001.png, 002.png, 003.png\)"):
        run(study, tmp_path / "refused", form)
    assert not (tmp_path / "refused").exists()
    result = run(study, tmp_path / "out", form, unanswered="leave_out")
    measured = result.manifest.metrics["readers"]["a"]["questions"]["entity"]["whole set"]
    assert (measured["images"], measured["answered"]) == (140, 137)
    right = sum(hard(image)["entity"] == image.truth for image in key.images[3:])
    assert measured["accuracy"]["value"] == right / 137 and measured["accuracy_of_all"] == right / 140
    assert result.manifest.rows.reasons == {"rejected: no answer: entity": 3} and result.manifest.rows.ok == 137
    assert "137 of 140; " in Path(result.data, "reader_study.html").read_text()
    lines = Path(form).read_text().splitlines()
    empty = tmp_path / "short.csv"
    empty.write_text("\n".join(lines[:-1]) + "\n")  # a line that is gone
    with pytest.raises(ValueError, match=r"short: 4 images have no answer in column entity"):
        run(study, tmp_path / "refused", str(empty))


def test_a_study_in_s3(place: str, tmp_path: Path) -> None:
    small = made.built(place, 1)
    form = made.answer(small, tmp_path / "a.csv")
    uri = f"{place}/a.csv"
    storage.write_bytes(uri, Path(form).read_bytes())
    config = {"study": small.uri, "answers": [uri], "output": f"{place}/out", "resamples": 100}
    result = analyse.run(validate(AnalyseConfig, config))
    assert result.manifest.metrics["readers"]["a"]["questions"]["entity"]["AI"]["accuracy"]["value"] == 1.0
    assert storage.exists(f"{result.data}/reader_study.html")
