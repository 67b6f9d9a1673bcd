"""What a sweep refuses before it starts, and which images its trials have."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from dermray.classification.arms import ArmSettings, arms_of, choose
from dermray.classification.pools import Pools
from dermray.classification.prepare import Prepared, Prints, Wanted, prepare
from dermray.classification.sources import Source, Synthetic
from dermray.classification.test_sets import External
from dermray.config import validate
from dermray.manifest import Result
from tests.classification.made_rows import generated, phantoms, result

REAL, DRAWN = phantoms(200), phantoms(80, seed=9, origin="synthetic", split=None, patient_id=None, lesion_id=None)
TESTED = sum(row["split"] == "test" for row in REAL)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return result(f"{tmp_path_factory.mktemp('made')}/rows", "caption", REAL)


def external(name: str, **options: Any) -> External:
    return validate(External, {"name": name, "rows": "-"} | options)


def source(place: Path, rows: Result, drawn: Result | None = None, name: str = "", **options: Any) -> Source:
    found = drawn or generated(f"{place}/drawn", DRAWN, rows.manifest.key)
    return Source(Synthetic.model_construct(name=name, result=found.uri, trained_on=options.get("trained_on")), rows)


def prepared(
    place: Path, rows: Result, sources: list[Source], *tests: tuple[External, Result], prints: Prints | None = None,
    **options: Any,
) -> Prepared:  # fmt: skip
    given: dict[str, Any] = {
        "column": "malignant", "classes": (), "arms": arms_of(ArmSettings(), [s.name for s in sources]),
        "real_images": (20,), "seeds": (0, 1), "balanced": False, "most_test": 4000, "most_validation": 100,
    }  # fmt: skip
    return prepare(str(place), rows, sources, tests, Wanted(**given | options), prints or Prints())


def test_every_image_of_every_trial_is_decoded_and_no_other_training_image(tmp_path: Path, rows: Result) -> None:
    found = prepared(tmp_path, rows, [source(tmp_path, rows)], seeds=(0, 1, 2), real_images=(10, 20))
    real, drawn = (Pools.read(file) for file in (found.pools.real, found.pools.synthetic[""]))
    wanted = set()
    for arm in arms_of(ArmSettings()):
        for few in (10, 20):
            for seed in (0, 1, 2):
                chosen = choose(arm, real[1], drawn[1], few, seed)
                wanted |= {real[0][i] for i in chosen.real} | {drawn[0][i] for i in chosen.synthetic}
    test, validation = (Pools.read(file)[0] for file in (found.pools.test("test"), found.pools.validation))
    assert set(found.images["sample_id"].to_pylist()) == wanted | {*test, *validation}
    by_id = {row["sample_id"]: row for row in REAL}
    assert {by_id[i]["split"] for i in real[0]} == {"train"} and {by_id[i]["split"] for i in test} == {"test"}
    assert [by_id[i]["malignant"] for i in real[0]] == [bool(label) for label in real[1]]
    assert found.used == 280 and found.tests["test"]["images"] == len(test) == TESTED


def test_each_synthetic_source_has_its_own_images(tmp_path: Path, rows: Result) -> None:
    flux = source(tmp_path, rows, name="DermaFlux")
    other = result(f"{tmp_path}/released", "ingest", phantoms(60, seed=4))
    released = source(tmp_path, rows, other, name="Derm-T2IM", trained_on="unknown")
    arms = arms_of(validate(ArmSettings, {"synthetic_only": [2.5]}), ["DermaFlux", "Derm-T2IM"])
    found = prepared(tmp_path, rows, [flux, released], arms=arms, real_images=(20,), seeds=(0,))
    ids = {name: set(Pools.read(file)[0]) for name, file in found.pools.synthetic.items()}
    assert ids == {"DermaFlux": {r["sample_id"] for r in DRAWN}, "Derm-T2IM": {r["sample_id"] for r in phantoms(60, 4)}}
    chosen = set(found.images["sample_id"].to_pylist())
    assert [len(chosen & of) for of in ids.values()] == [50, 50]
    arms = arms_of(validate(ArmSettings, {"synthetic_only": [2, 4]}), ["DermaFlux", "Derm-T2IM"])
    with pytest.raises(ValueError, match="'Derm-T2IM only 0:4': needs 80 Derm-T2IM synthetic images .* there are 60"):
        prepared(tmp_path, rows, [flux, released], arms=arms)


def test_a_test_set_loses_what_training_shares(tmp_path: Path, rows: Result) -> None:
    strangers, trained_on = phantoms(40, seed=3), [row for row in REAL if row["split"] == "train"]
    partly = result(f"{tmp_path}/partly", "ingest", [*strangers, *trained_on[:6]])
    given = external("elsewhere"), external("dark", where={"skin_tone": ["C"]}), external("none", split="train")
    found = prepared(tmp_path, rows, [source(tmp_path, rows)], *((each, partly) for each in given))
    assert found.tests["elsewhere"]["removed"]["all"] == 6 and found.tests["elsewhere"]["images"] == 40
    tones = Pools.read_rows(found.pools.test("dark"))["skin_tone"].to_pylist()
    assert set(tones) == {"C"} and len(tones) == sum(row["skin_tone"] == "C" for row in strangers)
    assert found.pools.tests == ["test", "elsewhere", "dark", "none"]
    assert found.removed == sum(told["removed"]["all"] for told in found.tests.values())

    again = result(f"{tmp_path}/again", "ingest", trained_on[:30])
    with pytest.raises(ValueError, match="test set again: all of its 30 images are shared with training .30 by same"):
        prepared(tmp_path, rows, [source(tmp_path, rows)], (external("again"), again))
    one = result(f"{tmp_path}/one", "ingest", [*trained_on[:30], *(r for r in strangers if not r["malignant"])])
    with pytest.raises(ValueError, match="one: holds only benign after 30 that training shares were removed"):
        prepared(tmp_path, rows, [source(tmp_path, rows)], (external("one"), one))
    with pytest.raises(ValueError, match="test set no: no image with .* has a known malignant"):
        prepared(tmp_path, rows, [source(tmp_path, rows)], (external("no", where={"sex": ["other"]}), again))


def test_a_generator_that_saw_test_images_is_let_pass_where_papers_split_by_image(
    tmp_path: Path, rows: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermray.classification.prepare.near_in", lambda tested, seen: pa.array([], pa.string()))
    saw = result(f"{tmp_path}/saw", "caption", [row | {"split": "train"} for row in REAL[:150]])
    drawn = generated(f"{tmp_path}/drawn", DRAWN, saw.manifest.key)
    glide = source(tmp_path, rows, drawn, name="GLIDE", trained_on=saw.uri)
    prints = Prints(tests={"test": "-", "other": "-"}, generators={"GLIDE": "-"})
    seen = sum(row["split"] == "test" for row in REAL[:150])
    with pytest.raises(ValueError, match=f"test set test: the generator of .* GLIDE saw {seen} of its {TESTED} images"):
        prepared(tmp_path, rows, [glide], prints=prints)
    by_image = Result(rows.uri, rows.manifest.model_copy(update={"leaking_groups": {"ingest": 3}}))
    found = prepared(tmp_path, by_image, [glide], prints=prints)
    assert found.tests["test"]["seen_by_generator"] == {"GLIDE": seen} and found.tests["test"]["images"] == TESTED
    other = result(f"{tmp_path}/other", "ingest", [*phantoms(40, seed=3), *REAL[:1]])
    monkeypatch.setattr("dermray.classification.prepare.without_shared", lambda name, test, *_: (test, {"all": 0}))
    with pytest.raises(ValueError, match="test set other: the generator of synthetic source GLIDE saw 1 of its 41"):
        prepared(tmp_path, by_image, [glide], (external("other"), other), prints=prints)


def test_synthetic_images_that_show_test_images_are_not_trained_on(
    tmp_path: Path, rows: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, own_test = phantoms(60, seed=4), [row for row in REAL if row["split"] == "test"]
    elsewhere = result(f"{tmp_path}/elsewhere", "ingest", phantoms(30, seed=3))
    nearly = pa.array([drawn[0]["sample_id"]])
    monkeypatch.setattr("dermray.classification.prepare.near_in", lambda drawn, tests: nearly)
    copied = result(f"{tmp_path}/copied", "ingest", [*drawn, *own_test[:4], *phantoms(30, seed=3)[:2]])
    mixed = source(tmp_path, rows, copied, trained_on="unknown")
    prints = Prints({"test": "", "elsewhere": ""}, None, {}, {"": ""})
    found = prepared(tmp_path, rows, [mixed], (external("elsewhere"), elsewhere), prints=prints)
    left, group = set(Pools.read(found.pools.synthetic[""])[0]), drawn[0]["leak_group"]
    assert left == {row["sample_id"] for row in drawn if row["leak_group"] != group}
    assert found.tested[""]["same image"] == 6 and found.tested[""]["near duplicate"] == 1
    assert found.tested[""]["all"] == 66 - len(left)
    assert found.tests["test"]["images"] == TESTED and found.tests["elsewhere"]["images"] == 30

    wholly = result(f"{tmp_path}/wholly", "ingest", own_test)
    with pytest.raises(ValueError, match=f"synthetic: holds no image after {TESTED} that show test images were remov"):
        prepared(tmp_path, rows, [source(tmp_path, rows, wholly, trained_on="unknown")])


def test_what_a_generator_saw_is_asked_for(tmp_path: Path, rows: Result) -> None:
    foreign = generated(f"{tmp_path}/foreign", DRAWN, "elsewhere")
    with pytest.raises(
        ValueError, match="drawn by a generator of other rows .key elsewhere.*its test split is not this"
    ):
        source(tmp_path, rows, foreign)
    wrong = result(f"{tmp_path}/wrong", "caption", phantoms(8, seed=5))
    with pytest.raises(ValueError, match="trained_on=.* is another; give the result with that key"):
        source(tmp_path, rows, foreign, trained_on=wrong.uri)
    released = result(f"{tmp_path}/released", "ingest", DRAWN)
    with pytest.raises(ValueError, match="nothing tells what the generator of these images saw"):
        source(tmp_path, rows, released)
    assert source(tmp_path, rows, released, trained_on="unknown").unknown
    assert source(tmp_path, rows, released, trained_on=wrong.uri).saw == ()
    with pytest.raises(ValueError, match="stage 'caption', expected one of 'generate' or 'ingest'"):
        source(tmp_path, rows, rows)


def test_a_generator_that_saw_test_images_is_refused(
    tmp_path: Path, rows: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermray.classification.prepare.near_in", lambda *places: None)
    prints = Prints({"test": "", "elsewhere": ""}, None, {"": ""})
    own_test = [row | {"split": "train"} for row in REAL if row["split"] == "test"][:5]
    result(f"{tmp_path}/saw", "caption", [*phantoms(30, seed=6, split="train"), *own_test], key="elsewhere")
    foreign = generated(f"{tmp_path}/foreign", DRAWN, "elsewhere")
    seen = source(tmp_path, rows, foreign, trained_on=f"{tmp_path}/saw")
    with pytest.raises(ValueError, match="test set test: the generator of synthetic source given saw .* by same image"):
        prepared(tmp_path, rows, [seen], prints=prints)

    result(f"{tmp_path}/saw", "caption", phantoms(30, seed=6, split="train"), key="elsewhere")
    apart = source(tmp_path, rows, foreign, trained_on=f"{tmp_path}/saw")
    assert prepared(tmp_path, rows, [apart], prints=prints).tests["test"]["images"] == TESTED
    patients = result(f"{tmp_path}/patients", "ingest", phantoms(9, seed=6, first=28) + phantoms(30, seed=7))
    with pytest.raises(ValueError, match="test set elsewhere: .* saw .* of their patients .*by patient"):
        prepared(tmp_path, rows, [apart], (external("elsewhere"), patients), prints=prints)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"real_images": (20, 45), "arms": arms_of(ArmSettings())[-1:]},
         "'more real': needs 135 real images for real_images=45, there are 1[12].; lower real_images, or add real"),
        ({"real_images": (60,), "arms": arms_of(validate(ArmSettings, {"more_real": [], "ratios": [1.5]}))},
         "shuffled labels': needs 120 synthetic images for real_images=60, there are 80; lower .*draw more"),
        ({"column": "colour"}, "column=colour: no label column"),
        ({"column": "entity"}, "column=entity: expected at least two classes, each once, got other"),
        ({"column": "sex", "classes": ("female", "no")}, "train rows: holds only female; expected at least two of fem"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before_anything_is_decoded(
    tmp_path: Path, rows: Result, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(tmp_path, rows, [source(tmp_path, rows)], **options)


def test_other_columns_have_their_own_classes_and_unknown_labels_are_counted(tmp_path: Path) -> None:
    known = [row | {"site": None if i % 4 == 0 else ("back", "arm", "leg")[i % 3]} for i, row in enumerate(REAL)]
    rows = result(f"{tmp_path}/rows", "ingest", known)
    drawn = [row | {"site": ("back", "arm", "face")[i % 3]} for i, row in enumerate(DRAWN)]
    found = prepared(tmp_path, rows, [source(tmp_path, rows, generated(f"{tmp_path}/d", drawn, "rows"))], column="site",
                     real_images=(8,))  # fmt: skip
    assert found.target.classes == ("arm", "back", "leg")
    labels = Pools.read_rows(found.pools.real)["label"]
    assert pc.count_distinct(labels).as_py() == 3 and found.unlabelled == 50 + sum(r["site"] == "face" for r in drawn)
    assert np.bincount(Pools.read(found.pools.synthetic[""])[1], minlength=3)[2] == 0


def test_rows_whose_groups_lie_in_two_splits_are_refused(tmp_path: Path) -> None:
    other = {"train": "test", "test": "train", "val": "train"}[REAL[0]["split"]]
    stray = phantoms(1, seed=8, leak_group=REAL[0]["leak_group"], split=other)
    leaking = result(f"{tmp_path}/rows", "caption", [*REAL, *stray])
    with pytest.raises(ValueError, match="leak: group"):
        prepared(tmp_path, leaking, [source(tmp_path, leaking)])
