"""Numbers against arithmetic by hand, and intervals against what was planted."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dermray.vlm.vqa.scores import Answered, Groups, Key, Statistic, evaluate, majority_floors, measured

ROWS = ["answer_id", "sample_id", "truth", "leak_group", "skin_tone", "sex", "age"]


def answered(values: dict[str, Any], groups: list[str], counts: np.ndarray | None = None, **columns: Any) -> Answered:
    n = len(groups)
    given = {"answer_id": [f"{i:05d}" for i in range(n)], "sample_id": [f"{i:05d}" for i in range(n)],
             "leak_group": groups} | columns  # fmt: skip
    table = pa.table({name: given.get(name, pa.nulls(n, pa.string())) for name in ROWS})
    return Answered(table, {name: np.array(v, float) for name, v in values.items()}, counts)


def test_means_floors_and_groups_by_hand() -> None:
    right = [1, 0, 1, 1, 0, 1]
    one = answered(
        {"closed questions": right, "closed: malignant": [*right[:4], np.nan, np.nan]},
        ["a", "a", "b", "b", "c", "c"],
        truth=["yes", "no", "no", "no", "red", "blue"],
        sex=["female", "female", "male", "male", None, None],
        age=[20.0, 20.0, 80.0, float("nan"), None, 80.0],
    )
    found = evaluate({"one": one}, 200, 0)
    cell = found["measures"]["one"]["closed questions"]
    assert (cell["n"], cell["value"], found["leak_groups"]) == (6, pytest.approx(4 / 6), 3)
    assert found["measures"]["one"]["closed: malignant"]["floor"] == 0.75
    assert found["measures"]["one"]["closed: malignant"]["floor_answer"] == "no"
    assert majority_floors(one)["closed questions"] == {"floor": 0.75}, "of those whose question is told"
    groups = found["groups"]["one"]
    assert {name: (g["n"], g["value"]) for name, g in groups["sex"].items()} == {"female": (2, 0.5), "male": (2, 1.0)}
    assert {name: g["n"] for name, g in groups["age_band"].items()} == {"0-29": 2, "75+": 2}
    assert groups["skin_tone"] == {} and found["differences"] == []


def test_intervals_are_the_bootstrap_over_whole_groups() -> None:
    rng = np.random.default_rng(5)
    values, groups = rng.random(40), [f"g{i // 4}" for i in range(40)]
    cell = evaluate({"one": answered({"token F1": values}, groups)}, 4000, 1)["measures"]["one"]["token F1"]
    means = values.reshape(10, 4).mean(1)  # groups of one size: their means are resampled
    theirs = np.quantile(means[rng.integers(0, 10, (20_000, 10))].mean(1), [0.025, 0.975])
    np.testing.assert_allclose([cell["low"], cell["high"]], theirs, atol=0.01)


def test_one_group_has_no_interval() -> None:
    cell = evaluate({"one": answered({"token F1": [0, 1]}, ["a", "a"])}, 100, 0)["measures"]["one"]["token F1"]
    assert (cell["value"], cell["low"], cell["high"]) == (0.5, None, None)


def planted(seed: int, gain: float) -> tuple[Answered, Answered]:
    """60 images of three questions each; difficulty and gain belong to the image, so the answers of one go together."""
    rng = np.random.default_rng(seed)
    groups = [f"g{i // 3}" for i in range(180)]
    ease = np.repeat(rng.normal(0, 0.3, 60), 3)
    before = 0.4 + ease + rng.normal(0, 0.1, 180)
    after = before + gain + np.repeat(rng.normal(0, 0.15, 60), 3) + rng.normal(0, 0.1, 180)
    return answered({"token F1": before}, groups), answered({"token F1": after}, groups)


def test_paired_intervals_cover_a_planted_difference() -> None:
    inside, widths, alone = 0, [], []
    for seed in range(200):
        before, after = planted(seed, 0.05)
        found = evaluate({"before": before, "after": after}, 300, seed)
        (difference,) = found["differences"]
        inside += difference["low"] <= 0.05 <= difference["high"]
        widths.append(difference["high"] - difference["low"])
        cell = found["measures"]["after"]["token F1"]
        alone.append(cell["high"] - cell["low"])
    assert 178 <= inside <= 199, "95% of 200 are 190, and 178 is four standard deviations below"
    assert np.mean(widths) < 0.6 * np.mean(alone), "because an image is as hard for both"


def test_a_difference_has_a_sign_a_p_and_a_corrected_p() -> None:
    before, after = planted(1, 0.3)
    rng = np.random.default_rng(0)
    for one in (before, after):
        one.values["exact match"] = rng.random(180).round()
    found = {d["measure"]: d for d in evaluate({"before": before, "after": after}, 500, 0)["differences"]}
    assert found["token F1"]["value"] == pytest.approx(np.mean(after.values["token F1"] - before.values["token F1"]))
    assert found["token F1"]["p"] == pytest.approx(2 / 501) and found["token F1"]["p_holm"] == pytest.approx(4 / 501)
    assert found["exact match"]["p"] > 0.05 and (found["token F1"]["first"], found["token F1"]["second"]) == (
        "before",
        "after",
    )


def test_pairs_leave_out_what_either_lacks() -> None:
    one = answered({"token F1": [0, np.nan, 1, 1]}, ["a", "b", "c", "d"])
    other = answered({"token F1": [1, 1, np.nan, 1]}, ["a", "b", "c", "d"])
    (difference,) = evaluate({"one": one, "other": other}, 100, 0)["differences"]
    assert (difference["n"], difference["value"]) == (2, 0.5)


def test_bleu_of_all_answers_and_its_difference() -> None:
    perfect = np.tile([6, 5, 4, 3, 6, 5, 4, 3, 6, 6], (4, 1)).astype(float)
    half = np.tile([3, 2, 1, 1, 6, 5, 4, 3, 6, 6], (4, 1)).astype(float)
    half[3] = np.nan  # its engine failed
    groups = Groups(["a", "a", "b", "c"])
    statistics: dict[Key, Statistic] = {
        ("m", "x"): groups.bleu(half),
        ("pair", "x"): groups.bleu_difference(half, perfect),
    }
    found = measured(statistics, groups, 100, 0)
    bleu = (3 / 6 * 2 / 5 * 1 / 4 * 1 / 3) ** 0.25
    assert found["m", "x"]["value"] == pytest.approx(bleu) and found["m", "x"]["n"] == 3
    assert found["pair", "x"]["value"] == pytest.approx(1 - bleu) and found["pair", "x"]["n"] == 3
