"""The sweep from rows to its table: small, but nothing in it is made up except the images."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dermray import manifest
from dermray.classification import calibration, saved, trial_files, zero_shot
from dermray.classification.batches import InMemory
from dermray.classification.pools import Pools
from dermray.classification.run import run
from dermray.classification.sweep_settings import SweepConfig
from dermray.classification.targets import Target
from dermray.classification.training import probabilities
from dermray.config import ConfigError, decisive, validate
from dermray.datasets.decode import decode, square
from dermray.manifest import Result
from tests.classification import tiny_clip
from tests.classification.made_rows import generated, phantoms, result

BACKBONES = [{"name": "test_resnet", "learning_rate": 6e-3}]
REAL = phantoms(200)
STRANGERS = [*phantoms(30, seed=3), *[row for row in REAL if row["split"] == "train"][:6]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sweeps")
    result(f"{place}/rows", "caption", REAL)
    generated(f"{place}/drawn", phantoms(80, seed=9, origin="synthetic", split=None), "rows")
    result(f"{place}/strangers", "ingest", STRANGERS)
    return place


def config(place: Path, output: str, **changes: Any) -> SweepConfig:
    given = {
        "output": f"{place}/{output}", "rows": f"{place}/rows", "synthetic": f"{place}/drawn", "real_images": 20,
        "seeds": 2, "backbones": BACKBONES, "image_size": 32, "training": {"steps": 3, "schedule": "one_cycle"},
        "test_sets": [{"name": "strangers", "rows": f"{place}/strangers"}], "resamples": 20,
    }  # fmt: skip
    return validate(SweepConfig, given | changes)


@pytest.fixture(scope="module")
def swept(local_ray: None, place: Path) -> Result:
    return run(config(place, "sweep"))


def trials_of(sweep: Result) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {(t["arm"], t["backbone"], t["real_images"], t["seed"]): t for t in sweep.manifest.metrics["trials"]}


@pytest.mark.slow
def test_each_trial_is_there_once_with_scores_curve_and_metrics(swept: Result) -> None:
    trials, metrics = trials_of(swept), swept.manifest.metrics
    assert len(trials) == len(metrics["trials"]) == 12
    pools = Pools(f"{swept.data}/pools", {}, ["test", "strangers"])
    labels = {name: Pools.read(pools.test(name))[1] for name in pools.tests}
    for trial in trials.values():
        scores = trial_files.scores_of(f"{swept.data}/trials", trial["key"])
        assert {name: values.shape for name, values in scores.items()} == {
            name: (len(each), 2) for name, each in (labels | {"validation": Pools.read(pools.validation)[1]}).items()
        }
        assert trial["auc"] == trial["overall"]["auc"] == roc_auc_score(labels["test"], scores["test"][:, 1])
        assert trial["calibration"]["threshold"] == trial["threshold"] != 0.5  # of the validation images
        curve = json.loads(Path(f"{swept.data}/trials/{trial['key']}/curve.json").read_text())
        assert curve[-1]["step"] == 3 and curve[-1]["loss"] > 0
    assert {trials[a, "test_resnet", 20, 0]["training_images"] for a in ("more real", "real + synthetic 1:2")} == {60}
    events = list(Path(swept.data).glob("tune/start-000/*/events.out.tfevents.*"))
    assert len(events) == 12 and b"_hparams_/session_start_info" in events[0].read_bytes()


@pytest.mark.slow
def test_the_table_has_every_training_set_on_every_test_set(swept: Result) -> None:
    metrics = swept.manifest.metrics
    assert metrics["tests"]["strangers"] == {
        "images": 30, "unlabelled": 0,
        "removed": {"same image": 6, "patient": 6, "lesion": 6, "near duplicate": 6, "leak group": 0, "all": 6},
    }  # fmt: skip
    assert swept.manifest.rows.reasons == {"rejected: shared with training": 6}
    rows = list(csv.DictReader(Path(f"{swept.data}/table.csv").read_text().splitlines()))
    assert len(rows) == 12 == len({(row["arm"], row["test_set"]) for row in rows})
    assert {(row["test_set"], row["test_images"], row["removed"]) for row in rows} >= {("strangers", "30", "6")}
    trials = trials_of(swept)
    [row] = [row for row in rows if (row["arm"], row["test_set"]) == ("real only", "test")]
    for name in ("auc", "accuracy", "balanced_accuracy", "f1_macro"):  # a trial says of itself what the table says
        mean = np.mean([trials["real only", "test_resnet", 20, seed]["overall"][name] for seed in (0, 1)])
        assert float(row[name]) == pytest.approx(mean), name
    assert 0 <= float(row["recall"]) <= 1
    assert [each["test_set"] for each in metrics["tested"]] == ["test", "strangers"]


@pytest.mark.slow
def test_the_model_that_is_served_is_the_one_of_most_real_images(swept: Result) -> None:
    key = trials_of(swept)["more real", "test_resnet", 20, 0]["key"]
    kept = [path.parent.parent.name for path in Path(swept.data).glob("trials/*/model/model.safetensors")]
    assert kept == [key]
    served = saved.load(f"{swept.data}/model")
    assert served.image_size == 32
    scores = trial_files.scores_of(f"{swept.data}/trials", key)[trial_files.VALIDATION]
    labels = Pools.read(f"{swept.data}/pools/validation.parquet")[1]
    assert served.validated.calibration == calibration.fit(labels, scores), "as the table's columns were decided"
    assert served.validated.outliers is not None and len(served.validated.outliers.bank) > 0


@pytest.mark.slow
def test_a_larger_sweep_runs_only_what_is_new(swept: Result, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    arms = {"ratios": [0.5, 1, 2], "shuffled": [1, 2]}
    larger = run(config(place, "larger", seeds=3, arms=arms, extend=swept.uri, max_test_images=4000))
    assert f"12 of 24 trials are taken from {swept.uri}" in capsys.readouterr().out
    begun = {path.parent.name for path in Path(larger.data).glob("tune/*/*/params.json")}
    assert len(begun) == 12 and sum("1_0.5" in name for name in begun) == 3
    old, new = ({trial["key"]: trial for trial in sweep.manifest.metrics["trials"]} for sweep in (swept, larger))
    assert len(new) == len(trials_of(larger)) == 24
    arms_now = {trial["arm"] for trial in new.values()}
    assert arms_now == {row["arm"] for row in larger.manifest.metrics["table"]} >= {"shuffled labels 1:2"}
    for key, trial in old.items():  # the arm that is now one of two has another name, and all else is as it was
        assert new[key] | {"arm": trial["arm"]} == trial
        assert new[key]["arm"].removesuffix(" 1:2" if trial["arm"] == "shuffled labels" else "") == trial["arm"]
    assert larger.manifest.key == manifest.key_of("sweep", _identity(place, arms), larger.manifest.inputs)
    assert run(config(place, "larger", seeds=3, arms=arms)).manifest.started == larger.manifest.started


@pytest.mark.slow
@pytest.mark.soak
def test_a_trial_by_two_workers_is_that_of_one(local_ray: None, place: Path) -> None:
    """A network without batch statistics, in which the number of workers changes rounding alone."""
    given = {
        "backbones": [{"name": "test_vit", "learning_rate": 1e-3, "arguments": {"img_size": 32}}],
        "arms": {"ratios": [1], "synthetic_only": [], "shuffled": [], "more_real": []},
        "training": {"epochs": 2, "batch_size": 8, "augmentation": "none"},
        "test_sets": [],
    }
    one, two = (run(config(place, f"by_{n}", workers_per_trial=n, **given)) for n in (1, 2))
    alone, shared = trials_of(one), trials_of(two)
    assert alone.keys() == shared.keys() and len(shared) == 4
    assert two.manifest.cpus == 2 * one.manifest.cpus
    for name, trial in shared.items():
        assert trial["key"] != alone[name]["key"], "batch statistics would differ"
        scores = (
            trial_files.scores_of(f"{r.data}/trials", t["key"])["test"] for r, t in ((one, alone[name]), (two, trial))
        )
        first, second = scores
        assert np.allclose(first, second, atol=1e-3), name
        assert len(trial_files.curve_of(f"{two.data}/trials", trial["key"])) == 2, "epochs"
        assert not Path(two.data, "trials", trial["key"], "workers").exists()


def test_a_ratio_that_rounds_to_no_image_is_refused(place: Path) -> None:
    with pytest.raises(ConfigError, match=r"with 20 real images rounds to no image; give a ratio of at least 0.05"):
        config(place, "tiny", arms={"ratios": [0.001]})


def test_a_batch_that_workers_cannot_share_is_refused_before_anything_starts(place: Path) -> None:
    with pytest.raises(ValueError, match="batch_size=32: expected a multiple of 3 workers"):
        run(config(place, "thirds", workers_per_trial=3))


def _identity(place: Path, arms: dict[str, Any]) -> dict[str, Any]:
    """Of the same sweep made at once."""
    settings = decisive(config(place, "larger", seeds=3, arms=arms))
    return {name: value for name, value in settings.items() if name not in ("output", "rows", "synthetic")}


@pytest.mark.slow
def test_zero_shot_models_stand_beside_trained_ones(
    swept: Result, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"name": "tiny", "model": str(tiny_clip.write(place / "clip"))}
    capsys.readouterr()
    beside = run(config(place, "beside", extend=swept.uri, zero_shot=[given]))
    assert "12 of 13 trials are taken" in capsys.readouterr().out and not Path(f"{beside.data}/tune").exists()
    assert trials_of(beside) == trials_of(swept)
    [told] = beside.manifest.metrics["zero_shot"]
    assert told["revision"] == beside.manifest.inputs["weights.zero_shot.tiny"]
    model = zero_shot.load(validate(zero_shot.ZeroShot, given), Target("malignant", ("benign", "malignant")))
    images = {row["sample_id"]: square(decode(row["image"]), tiny_clip.SIZE) for row in [*REAL, *STRANGERS]}
    rows = [row for row in beside.manifest.metrics["table"] if row["role"] == "zero-shot"]
    assert [(row["arm"], row["test_set"], row["seeds"]) for row in rows] == [
        ("zero-shot tiny", "test", 0), ("zero-shot tiny", "strangers", 0)
    ]  # fmt: skip
    scores = trial_files.scores_of(f"{beside.data}/trials", told["key"])
    for row in rows:
        ids, labels = Pools.read(Pools(f"{beside.data}/pools", {}, []).test(row["test_set"]))
        shown = InMemory(np.stack([images[sample_id] for sample_id in ids]))
        assert np.allclose(scores[row["test_set"]], probabilities(model, shown, np.arange(len(ids))), atol=1e-6)
        assert row["auc"] == pytest.approx(roc_auc_score(labels, scores[row["test_set"]][:, 1]))
    assert "zero-shot tiny" in Path(f"{beside.data}/page.html").read_text()


def test_prompts_for_other_classes_are_refused_before_anything_starts(place: Path) -> None:
    given = {"name": "tiny", "model": str(tiny_clip.write(place / "words")), "prompts": {"mel": ["melanoma"]}}
    with pytest.raises(ValueError, match="zero_shot tiny: prompts for mel, which malignant does not have here"):
        run(config(place, "refused", zero_shot=[given]))


@pytest.mark.slow
def test_a_sweep_of_other_data_or_settings_is_not_extended(swept: Result, place: Path) -> None:
    result(f"{place}/strangers-2", "ingest", STRANGERS[:-1])
    tests = [{"name": "strangers", "rows": f"{place}/strangers-2"}]
    with pytest.raises(ValueError, match=r"the data changed since \(test_sets.strangers\).*sweep anew without extend"):
        run(config(place, "refused", seeds=3, extend=swept.uri, test_sets=tests))
    with pytest.raises(ValueError, match=r"changed since \(test_sets.strangers\)"):
        run(config(place, "refused", extend=swept.uri, test_sets=[]))
    with pytest.raises(ValueError, match="made with other settings .balanced: False then, True now.; give those"):
        run(config(place, "refused", extend=swept.uri, balanced=True))
    with pytest.raises(FileNotFoundError, match="run the sweep stage first"):
        run(config(place, "refused", extend=f"{place}/nothing"))


def test_what_is_told_apart_by_name_is_given_once() -> None:
    with pytest.raises(ConfigError, match=r"backbones=.*each name once, got \['test_resnet'\] more than once"):
        config(Path(), "o", backbones=2 * BACKBONES)
    with pytest.raises(ConfigError, match="real_images=.*at least 4, or several different"):
        config(Path(), "o", real_images=[50, 50])
    with pytest.raises(ConfigError, match="synthetic=.*expected a result, or a list of sources"):
        config(Path(), "o", synthetic=[])
    with pytest.raises(ConfigError, match="test_sets.0.where=.*no such columns: .'tone'"):
        config(Path(), "o", test_sets=[{"name": "x", "rows": "x", "where": {"tone": ["A"]}}])
    mistaken: list[tuple[str, list[Any]]] = [
        ("skin_tone", [3]), ("skin_tone", []), ("fitzpatrick", ["5"]), ("malignant", ["yes"])
    ]  # fmt: skip
    for column, values in mistaken:
        with pytest.raises(ConfigError, match=rf"test_sets.0.where=.*{column}: expected a list of .*, got \["):
            config(Path(), "o", test_sets=[{"name": "x", "rows": "x", "where": {column: values}}])
    where: dict[str, list[Any]] = {"fitzpatrick": [5, 6], "malignant": [True], "skin_tone": ["C"], "age": [40]}
    assert config(Path(), "o", test_sets=[{"name": "x", "rows": "x", "where": where}]).test_sets[0].where == where
    two = [{"name": name, "result": name} for name in ("DermaFlux", "Derm-T2IM")]
    assert len(config(Path(), "o", synthetic=two).all_arms) == 10


def test_classes_of_malignant_are_its_own() -> None:
    with pytest.raises(ConfigError, match=r"classes=\['a', 'b'\]: column=malignant tells benign from malignant"):
        config(Path(), "o", classes=["a", "b"])
    assert config(Path(), "o", classes=["mel", "nv"], column="entity").classes == ("mel", "nv")


@pytest.mark.slow
def test_the_verdict_is_said_in_the_terminal(swept: Result) -> None:
    said, verdict = swept.manifest.metrics["summary"], swept.manifest.metrics["verdict"]
    assert [line[5:].partition(" (")[0] for line in said.splitlines() if line[:3] in ("yes", "NO ")] == [
        row["claim"] for row in verdict
    ]
    assert said.splitlines()[-1] == swept.manifest.metrics["tested"][0]["power"]["line"]


@pytest.mark.slow
def test_the_page_says_what_was_left_out(swept: Result) -> None:
    page = Path(f"{swept.data}/page.html").read_text()
    assert page.count("images that training shares") == 1
    assert "6 images that training shares (6 by same image, 6 by patient, 6 by lesion, 6 by near duplicate)" in page
