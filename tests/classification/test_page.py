"""A sweep's analysis, pictures and page, from a made-up sweep."""

import json
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from dermray import pages
from dermray.classification import page, plots, sweep_plots
from dermray.classification.analysis import analyse
from dermray.classification.held_out import HeldOut, Scored
from dermray.classification.panels import captions, panels
from dermray.classification.verdict import ZERO_SHOT
from dermray.figures import new_figure
from dermray.statistics import auc_interval
from tests.classification.made_up import ARMS, held_out, sweep

PART = held_out(240)
MANY = held_out(120, ("nv", "mel", "bcc"))
Tested = list[tuple[dict[str, Any], list[Scored], list[HeldOut]]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page and its pictures lie."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def tested(directory: Path) -> Tested:
    """Two test sets: binary with two backbones and real counts, three classes with one."""
    first = sweep(PART, real_images=(50, 100), seeds=3)
    second = sweep(MANY, dict.fromkeys(ARMS, 1.0), backbones=("x",), seeds=2)
    of_sets = [(analyse(scored, [part], 60, 0), scored, [part]) for scored, part in ((first, PART), (second, MANY))]
    page.write(str(directory), "a sweep", of_sets, "split by image: 3")
    return of_sets


def test_an_arm_is_the_mean_of_its_classifiers(tested: Tested) -> None:
    analysis, scored, _ = tested[0]
    assert len(analysis["arms"]) == len(ARMS) * 2 * 2 and json.dumps(analysis)
    row = next(r for r in analysis["arms"] if (r["arm"], r["backbone"], r["real_images"]) == ("real only", "y", 100))
    chosen = [s for s in scored if (s.arm, s.backbone, s.real_images) == ("real only", "y", 100)]
    aucs = [roc_auc_score(PART.labels, s.probabilities[:, 1]) for s in chosen]
    assert row["metrics"]["auc"]["mean"] == pytest.approx(np.mean(aucs)) and row["runs"] == len(aucs) == 3
    assert row["metrics"]["auc"]["low"] < min(np.mean(aucs), row["metrics"]["auc"]["high"])
    assert row["classes"]["malignant"]["auc"] == pytest.approx(np.mean(aucs))
    assert set(row["classes"]) == {"benign", "malignant"}


def test_the_verdict_is_of_the_backbones_mean_and_each_is_told_too(tested: Tested) -> None:
    analysis, other = tested[0][0], tested[1][0]
    assert {v["backbone"] for v in analysis["verdict"]} == {"all"} and len(analysis["verdict"]) == 5 * 2
    assert {v["backbone"] for v in analysis["differences"]} == {"x", "y"} and len(analysis["differences"]) == 5 * 2 * 2
    assert analysis["controls"] is True and analysis["power"]["tests"] == 6
    assert other["differences"] == [] and other["controls"] is False
    claims = [v for v in analysis["verdict"] if not v["control"]]
    assert analysis["power"]["difference"] == max(v["smallest_seen"] for v in claims)
    assert analysis["power"]["plan"][0]["difference"] == pytest.approx(analysis["power"]["difference"])
    least, most = (choose(claims, key=lambda v: v["smallest_seen"]) for choose in (min, max))
    line, ends = analysis["power"]["line"], [f"{v['smallest_seen']:.3f}" for v in (least, most)]
    assert re.findall(r"from (\d\.\d{3}) on", line) == ends and "240 test images of 120 leak groups and 3 seeds" in line
    for v in (least, most):
        assert f"({v['claim']} at {v['real_images']} real images)" in line


def test_gaps_of_attributes_that_are_known(tested: Tested) -> None:
    analysis = tested[0][0]
    assert {row["attribute"] for row in analysis["fairness"]} == {"skin_tone", "sex"}
    assert len(analysis["fairness"]) == 2 * len(ARMS) * 2


def test_lines_of_differences_name_backbones_and_real_counts_only_where_there_are_several(tested: Tested) -> None:
    several, one = (sweep_plots.compared(analysis) for analysis, *_ in tested)
    assert len(set(several)) == len(several) == 5 * 2 * 3
    assert all(name.endswith((" 50 real", " 100 real")) for name in several)
    assert {name.split(", ")[1] for name in several} == {"all backbones", "x", "y"}
    assert len(one) == 5 and not any("," in name for name in one)
    assert "more real - real only" in one


def test_pictures_are_pictures(tested: Tested, directory: Path) -> None:
    usual = {"ratio.png", "differences.png", "gaps.png", "roc.png", "reliability.png", "confusion.png"}
    for analysis, *_ in tested:
        assert set(analysis["pictures"]) == usual
        for path in analysis["pictures"].values():
            pixels = np.asarray(Image.open(directory / path).convert("L"))
            assert min(pixels.shape) > 150 and pixels.std() > 10


def test_a_mean_curve_has_the_mean_area() -> None:
    scored = [s for s in sweep(PART) if s.arm == "real only"]
    curves = [plots.mean_roc(PART.labels, s.probabilities) for s in scored]
    area = np.trapezoid(np.mean(curves, axis=0), plots.GRID)
    assert area == pytest.approx(np.mean([roc_auc_score(PART.labels, s.probabilities[:, 1]) for s in scored]), abs=0.01)


def test_no_two_arms_look_alike_and_controls_are_dashed() -> None:
    scored = sweep(PART, seeds=1)
    negative = next(s for s in scored if s.role == "negative control")
    scored += [replace(negative, arm="shuffled other labels")]
    scored += [replace(negative, arm=f"real + other 1:{i}", role="mixed") for i in range(6)]
    look = plots.looks(scored)
    assert len(set(look.values())) == len(look) == len(ARMS) + 7
    roles = {s.arm: s.role for s in scored}
    for role, solid in (("baseline", True), ("positive control", False), ("negative control", False)):
        assert {look[arm].line == "-" for arm in roles if roles[arm] == role} == {solid}
    greys = {look[arm].colour for arm, role in roles.items() if role == "negative control"}
    assert len(greys) == 2 and not greys & set(plots.PALETTE)


def test_a_panel_is_of_one_backbone_and_real_count_while_there_are_few(tested: Tested) -> None:
    shown = panels(tested[0][1])
    assert [panel.title for panel in shown] == [f"{b}, {few} real images" for few in (50, 100) for b in "xy"]
    for panel in shown:
        assert len({(s.backbone, s.real_images) for s in panel.scored}) == 1 and len(panel.scored) == 3 * len(ARMS)
    assert captions(*tested[0][1:]) == {
        "roc.png": "ROC: each curve is the mean over 3 seeds.",
        "reliability.png": "Reliability: each curve takes together 3 seeds.",
        "confusion.png": "Confusion: each matrix is the mean over 3 seeds and 2 backbones at 50 real images.",
    }
    assert captions(*tested[1][1:])["roc.png"] == (
        "ROC: each curve is the mean over 2 seeds and 3 classes, each against the rest."
    )
    zero_shot = [replace(s, role=ZERO_SHOT, real_images=0, backbone="z") for s in tested[0][1][:1]]
    again = panels([*tested[0][1], *zero_shot])
    assert [panel.title for panel in again] == [panel.title for panel in shown]
    assert all(panel.scored[-1:] == zero_shot for panel in again)


@pytest.mark.parametrize(
    ("counts", "backbones", "titles", "mean"),
    [
        ((25, 50), 4, ["mean of 4 backbones, 25 real images", "mean of 4 backbones, 50 real images"],
         "2 seeds and 4 backbones"),
        (tuple(range(1, 8)), 1, ["b0, mean of 7 numbers of real images"], "2 seeds and 7 numbers of real images"),
    ],
)  # fmt: skip
def test_what_does_not_fit_into_panels_is_averaged_and_said(
    counts: tuple[int, ...], backbones: int, titles: list[str], mean: str
) -> None:
    scored = sweep(PART, real_images=counts, backbones=tuple(f"b{i}" for i in range(backbones)), seeds=2)
    assert [panel.title for panel in panels(scored)] == titles
    assert captions(scored, [PART])["roc.png"] == f"ROC: each curve is the mean over {mean}."


def test_accuracy_and_synthetic_images_alone_stand_in_the_picture_of_ratios(tested: Tested) -> None:
    analysis = tested[0][0]
    panel = [row for row in analysis["arms"] if row["real_images"] == 100]
    _, axis = new_figure()
    sweep_plots.against_ratio(axis, analysis, panel, "accuracy")
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["1:0", "1:1", "1:2", "0:2"]
    drawn = [line.get_ydata() for line in axis.lines]
    for row in panel:
        mean = row["metrics"]["accuracy"]["mean"]
        assert any(mean in values for values in drawn) == (row["role"] != "negative control"), row["arm"]
    alone = {row["metrics"]["accuracy"]["mean"] for row in panel if row["arm"] == "synthetic only"}
    hollow = [line for line in axis.lines if line.get_markerfacecolor() == "w"]
    assert {y for line in hollow for y in line.get_ydata()} == alone and len(alone) == 2
    commonest = max(np.bincount(PART.labels)) / len(PART.labels)
    assert any(values[0] == pytest.approx(commonest) for values in drawn)


def test_the_page_says_first_whether_the_controls_came_out(tested: Tested, directory: Path) -> None:
    text = (directory / "page.html").read_text()
    assert '<p class="bad">split by image: 3</p>' in text
    assert not re.search(r"(src|href)=\"(?!data:)", text) and text.count('src="data:image/') == 12
    came_out, failed = "The controls came out", "Not all controls came out"
    assert text.count(came_out) == text.count(failed) == 1
    assert (
        text.index(came_out)
        < text.index("<table>")
        < text.index(failed)
        < text.index("real + synthetic", text.index(failed))
    )
    verdicts = [v for analysis, *_ in tested for v in analysis["verdict"] + analysis["differences"]]
    assert text.count("no: not shown here") == sum(not v["came_out"] for v in verdicts)
    assert "been seen" not in text and "Holm" in text
    for line in (analysis["power"]["line"] for analysis, *_ in tested):
        assert line in text
    for analysis, *_ in tested:
        assert all(caption in text for caption in analysis["captions"].values())
        again = page.pictures(str(directory), analysis)
        assert set(again) == set(analysis["pictures"]) and all(url in text for url in again.values())
    for row in re.findall(r"<table.*?</table>", text, re.S):
        columns = {len(re.findall(r"<t[dh]", line)) for line in re.findall(r"<tr>.*?</tr>", row, re.S)}
        assert len(columns) == 1, "a row of a table lacks a column"


def test_tables_tell_what_each_arm_was_trained_on(tested: Tested, directory: Path) -> None:
    first, _ = re.split(r"<h2>.*?</h2>", (directory / "page.html").read_text())[1:]
    told = {
        "real only": "50 + 0",
        "real + synthetic 1:2": "50 + 100",
        "synthetic only": "0 + 100",
        "more real": "150 + 0",
    }
    for row in tested[0][0]["arms"] + tested[0][0]["fairness"]:
        if row["real_images"] == 50 and row["arm"] in told:
            assert "{} + {}".format(*row["trained_on"]) == told[row["arm"]]
    tables = [
        table for table in re.findall(r"<table.*?</table>", first, re.S) if "<th>arm" in table or "gap to" in table
    ]
    assert len(tables) == 4, "two attributes, all metrics, classes"
    for table in tables:
        cells = [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>.*?</tr>", table, re.S)[1:]]
        column = 2 if "<th>arm" in table else 1
        for arm, images in told.items():
            of_arm = {line[column] for line in cells if line[0] == arm}
            assert images in of_arm and len(of_arm) == 2, "of 50 and 100 real images"


def test_the_page_explains_its_controls(tested: Tested) -> None:
    text = without_pictures(tested[0][0])
    assert text.count("Negative control (shuffled labels): trained on the real images, with their labels") == 1
    assert "show nothing of their labels: it is not able" not in text, "they came out"
    for wrong, said in (({"shuffled labels": 1.3}, True), ({"more real": 1.0}, False)):
        failed = analyse(sweep(PART, wrong, backbones=("x",)), [PART], 50, 0)
        assert failed["controls"] is False
        assert ("show nothing of their labels: it is not able to say" in without_pictures(failed)) == said
    assert "cannot vouch for the sweep" in text and text.count("Positive control (more real): ") == 1


def without_pictures(analysis: dict[str, Any]) -> str:
    """The page, quickly."""
    return pages.render(page.TEMPLATE, title="a sweep", mark="", tested=[(analysis, defaultdict(str))])


def test_the_real_counts_at_which_controls_failed_are_named() -> None:
    scored = sweep(PART, real_images=(50, 100), backbones=("x",), seeds=3, by_seed=0.0)
    for number, s in enumerate(scored):
        if (s.real_images, s.role) == (100, "positive control"):  # no better than chance
            scored[number] = replace(s, probabilities=s.probabilities[::-1])
    text = without_pictures(analyse(scored, [PART], 50, 0, attributes=()))
    assert "Not all controls came out at 100 real images: there, this experiment is too small" in text


def test_a_sweep_without_controls_or_groups_says_so() -> None:
    plain = HeldOut("plain", PART.classes, PART.labels, PART.leak_groups)
    scored = [s for s in sweep(PART, backbones=("x",), seeds=2) if not s.role.endswith("control")]
    analysis = analyse(scored, [plain], 50, 0)
    assert analysis["controls"] is None and analysis["fairness"] == []
    text = without_pictures(analysis)
    assert "Negative control" not in text and "Positive control" not in text
    assert "This sweep has no controls" in text and "fairness was not measured" in text


def test_estimated_tones_are_warned_of() -> None:
    scored = sweep(PART, backbones=("x",), seeds=2)
    tones = PART.attributes["skin_tone"]
    sources = ["estimated" if tone == "C" else "metadata" for tone in tones]
    guessed = replace(PART, attributes=PART.attributes | {"skin_tone_source": sources})
    text, plain = (without_pictures(analyse(scored, [part], 50, 0)) for part in (guessed, PART))
    assert f"Skin tones of {tones.count('C')} of these images were estimated" in text
    assert f", {tones.count('C')} by estimate" in text and text.count("by estimate") == 1
    assert "by estimate" not in plain and "estimated from" not in plain


def test_a_zero_shot_model_is_told_beside_and_changes_nothing_else() -> None:
    trained = sweep(PART, backbones=("x",), seeds=2)
    models = [
        Scored(f"zero-shot {name}", ZERO_SHOT, 0, name, 0, scored.probabilities)
        for name, scored in zip("ab", sweep(PART, backbones=("y",), seeds=1), strict=False)
    ]
    before, analysis = (analyse(given, [PART], 400, 0) for given in (trained, [*trained, *models]))
    assert [row["arm"] for row in analysis["zero_shot"]] == ["zero-shot a", "zero-shot b"]
    for name in before.keys() - {"zero_shot", "fairness"}:
        assert analysis[name] == before[name], name
    of_models = [row for row in analysis["fairness"] if row["role"] == ZERO_SHOT]
    assert [row for row in analysis["fairness"] if row not in of_models] == before["fairness"]
    assert len(of_models) == 2 * 2 and all(row["gap_floor"] is None for row in of_models)
    for row, model in zip(analysis["zero_shot"], models, strict=True):
        told, positive = row["metrics"]["auc"], model.probabilities[:, 1]
        assert told["mean"] == pytest.approx(roc_auc_score(PART.labels, positive))
        expected = auc_interval(PART.labels == 1, positive, PART.leak_groups, 2000, 1)
        assert (told["low"], told["high"]) == pytest.approx(expected, abs=0.02), "test images alone"
    text = without_pictures(analysis)
    assert text.count("Zero-shot models were not trained here") == 1 and "zero-shot a" in text
    assert "Zero-shot" not in without_pictures(before)
    assert sweep_plots.ratio_curve(analysis) != sweep_plots.ratio_curve(before)
    assert set(sweep_plots.draw(analysis, [*trained, *models], [PART])) >= {"roc.png", "gaps.png", "confusion.png"}


def test_a_test_set_of_one_class_is_refused() -> None:
    alone = HeldOut("nevi", PART.classes, np.zeros(240, int), PART.leak_groups)
    with pytest.raises(ValueError, match="test set 'nevi': 240 images of one class or none; expected two"):
        analyse(sweep(PART, seeds=2), [alone], 10, 0)
