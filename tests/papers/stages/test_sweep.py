from typing import Any

import pytest

from dermray.classification.analysis import analyse
from dermray.classification.held_out import Scored
from dermray.manifest import Result
from dermray.papers.measured import Measured
from dermray.papers.stages.sweep import UNCONTROLLED, measured
from tests.classification import made_up
from tests.papers.results import finished, lineage, one, run

PART = made_up.held_out(160)


@pytest.fixture(scope="module")
def analysis() -> dict[str, Any]:
    """Two backbones, two numbers of real images, and a model that was not trained here."""
    apart = {"shuffled labels": 0.0, "more real": 4.0}  # controls that come out
    scored = made_up.sweep(PART, apart, real_images=(50, 100), seeds=2)
    strange = Scored("zero-shot BiomedCLIP", "zero-shot", 0, "BiomedCLIP", 0, scored[0].probabilities)
    return analyse([*scored, strange], [PART], 20, 0, attributes=())


def swept(analysis: dict[str, Any], **config: Any) -> Result:
    settings = {"backbones": [{"name": "x"}, {"name": "y"}], "real_images": [100, 50]} | config
    inputs = {"rows": "c", "synthetic": "g"}
    return finished("sweep", "s", inputs, config=settings, tested=[analysis], image_size={"x": 32, "y": 64})


def read(analysis: dict[str, Any], **config: Any) -> list[Measured]:
    result = swept(analysis, **config)
    return list(measured("ablation", result, run(**lineage(), sweep=result)))


def test_an_arm_has_its_metrics_with_interval_floor_and_setting(analysis: dict[str, Any]) -> None:
    found = read(analysis)
    where = {"role": "mixed", "ratio": "1", "backbone_place": "2", "real_place": "2", "class": "all", "metric": "auc"}
    auc = one(found, **where, instance="ablation", test_set="drawn", source="only")
    [arm] = [arm for arm in analysis["arms"] if arm["arm"] == "real + synthetic 1:1" and arm["backbone"] == "y"
             and arm["real_images"] == 100]  # fmt: skip
    assert (auc.value, auc.low, auc.high) == tuple(arm["metrics"]["auc"][name] for name in ("mean", "low", "high"))
    assert auc.floor == 0.5 and auc.doubts == ()
    assert auc.setting.model_dump(exclude_none=True) == {
        "images": 160, "data": ("ham10000",), "split": "grouped", "tested_on": "real", "image_size": 64,
        "generator": "glide", "backbone": "y", "real_images": 100, "synthetic_images": 100,
    }  # fmt: skip
    accuracy = one(found, **where | {"metric": "accuracy"})
    commonest = max(row["images"] for row in arm["classes"].values())
    assert accuracy.floor == commonest / 160 < accuracy.value
    assert (auc.setting.threshold, accuracy.setting.threshold) == (None, "validation")
    recall = one(found, **where | {"class": "malignant", "metric": "recall"})
    assert recall.setting.threshold == "validation" and recall.floor is None
    assert recall.value == arm["classes"]["malignant"]["recall"] and recall.low is None
    assert recall.setting.images == arm["classes"]["malignant"]["images"] < 160, "of the malignant ones alone"


def test_what_is_tested_on_is_told_by_the_ingest_of_a_test_set(analysis: dict[str, Any]) -> None:
    at = {"role": "baseline", "backbone_place": "1", "real_place": "1", "class": "all", "metric": "auc"}
    result = swept(analysis)
    result.manifest.inputs["test_sets.drawn"] = "d"
    assert one(list(measured("s", result, run(**lineage(), sweep=result))), **at).setting.tested_data is None
    tested = finished("ingest", "d", config={"sources": [{"source": "phantom"}]})
    found = one(list(measured("s", result, run(**lineage(), tested=tested, sweep=result))), **at).setting
    assert (found.data, found.tested_data) == (("ham10000",), ("phantom",))
    own = swept(analysis | {"test_set": "test"})
    assert one(list(measured("s", own, run(**lineage(), sweep=own))), **at).setting.tested_data == ("ham10000",)


def test_what_was_split_by_image_is_told_apart(analysis: dict[str, Any]) -> None:
    where = {"role": "baseline", "backbone_place": "1", "real_place": "1", "class": "all", "metric": "auc"}
    assert "split" not in one(read(analysis), **where).where
    for published, split in ((False, "random"), (True, "official")):
        before, swept_rows = lineage(), swept(analysis)
        facts = {"split_by_image": {"published_test_split": published}}
        before["ingest"].manifest.metrics.update(facts)
        swept_rows.manifest.leaking_groups["i"] = 5
        auc = one(list(measured("ablation", swept_rows, run(**before, sweep=swept_rows))), **where)
        assert (auc.where["split"], auc.setting.split) == ("split by image", split)


def test_at_the_usual_threshold_decisions_are_as_a_paper_makes_them(analysis: dict[str, Any]) -> None:
    at = {"role": "mixed", "ratio": "1", "backbone_place": "2", "real_place": "2", "class": "all", "metric": "accuracy"}
    assert one(read(analysis, threshold="0.5"), **at).setting.threshold == "0.5"
    assert one(read(analysis, threshold="youden"), **at).setting.threshold == "validation"


def test_real_images_alone_know_no_generator_and_synthetic_ones_no_real_image(analysis: dict[str, Any]) -> None:
    found = read(analysis)
    at = {"backbone_place": "1", "real_place": "1", "class": "all", "metric": "accuracy"}
    assert one(found, **at, role="baseline").setting.generator is None
    alone = one(found, **at, role="synthetic only").setting
    assert (alone.generator, alone.real_images, alone.synthetic_images) == ("glide", 0, 100)
    drawn = {"backbone_place": "1", "real_place": "1", "metric": "synthetic images", "role": "mixed", "ratio": "2"}
    assert one(found, **drawn).value == 100
    strange = one(found, role="zero-shot", backbone="BiomedCLIP", **{"class": "all"}, metric="accuracy")
    assert (
        "backbone_place" not in strange.where
        and strange.setting.threshold == "0.5"
        and strange.setting.image_size is None
    )


def test_gains_are_those_of_each_backbone(analysis: dict[str, Any]) -> None:
    found = read(analysis)
    at = {"metric": "gain in auc", "role": "mixed", "ratio": "1", "real_place": "1"}
    assert one(found, **at, backbone_place="1").value != one(found, **at, backbone_place="2").value
    [told] = [row for row in analysis["differences"] if row["backbone"] == "x" and row["real_images"] == 50
              and row["better"] == "real + synthetic 1:1"]  # fmt: skip
    gain = one(found, **at, backbone_place="1")
    assert (gain.value, gain.low, gain.high, gain.floor) == (told["mean"], told["low"], told["high"], 0.0)


def test_of_one_backbone_the_verdict_is_its_gain() -> None:
    alone = analyse(made_up.sweep(PART, backbones=("x",), seeds=2), [PART], 20, 0, attributes=())
    result = finished("sweep", "s", {"rows": "c"}, tested=[alone], image_size={"x": 32},
                      config={"backbones": [{"name": "x"}], "real_images": 50})  # fmt: skip
    found = list(measured("sweep", result, run(sweep=result)))
    assert one(found, metric="gain in auc", role="mixed", ratio="2", backbone="x").setting.image_size == 32
    assert one(found, metric="test images").value == 160
    assert all(each.setting.data is None for each in found), "the ingest result is not among the run's"


def test_controls_that_did_not_come_out_are_a_doubt() -> None:
    helpless = made_up.sweep(PART, {"shuffled labels": 1.9, "more real": 1.0}, seeds=2)
    found = read(analyse(helpless, [PART], 20, 0, attributes=()), real_images=50)
    assert {each.doubts for each in found if "role" in each.where and each.where["metric"] != "synthetic images"} == {
        (UNCONTROLLED,)
    }


def test_several_sources_are_told_apart_by_name(analysis: dict[str, Any]) -> None:
    arms = [arm | {"source": "Derm-T2IM"} for arm in analysis["arms"] if arm["role"] == "synthetic only"]
    told = analysis | {"arms": arms, "verdict": [], "differences": [], "zero_shot": []}
    settings = {"backbones": [{"name": "x"}, {"name": "y"}], "real_images": [50, 100]}
    given = settings | {"synthetic": [{"name": "Derm-T2IM", "result": "a"}]}
    result = finished("sweep", "s", {"rows": "c", "synthetic.Derm-T2IM": "g"}, config=given, tested=[told],
                      image_size={"x": 32, "y": 64})  # fmt: skip
    found = list(measured("sources", result, run(**lineage(family="derm_t2im"), sweep=result)))
    at = {"class": "all", "metric": "accuracy", "backbone": "x", "real_place": "1"}
    assert one(found, **at, source="Derm-T2IM").setting.generator == "derm_t2im"
