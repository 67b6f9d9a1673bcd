import numpy as np
import pytest
from scipy import stats

from dermray.classification.power import planned, power_line, smallest_difference
from dermray.statistics import Components, crossed
from tests.test_statistics import measured, resampled_means


@pytest.mark.parametrize("count", [3, 5, 40])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_a_t_test_finds_the_smallest_difference_in_four_of_five(count: int, alpha: float) -> None:
    difference = smallest_difference(2 / np.sqrt(count), count - 1, alpha)
    drawn = np.random.default_rng(0).normal(difference, 2, (20_000, count))
    assert np.mean(stats.ttest_1samp(drawn, 0, axis=1).pvalue < alpha) == pytest.approx(0.8, abs=0.015)


def test_sweeps_of_the_planned_size_find_it_and_smaller_ones_do_not() -> None:
    variances = (0.02, 0.6, 0.3)
    parts = Components(variances[0], variances[1] / 50, variances[2] / 50, runs=4, clusters=50)
    plan = {(row["seeds"], row["clusters"]): row["difference"] for row in planned(parts, [4, 8], [50, 100])}
    found = {}
    for seeds, clusters in ((4, 50), (8, 100)):
        p = []
        for turn in range(250):
            observed = measured(seeds, clusters, variances, turn) + plan[8, 100]
            p.append(crossed(observed.mean(1), resampled_means(observed, 150, turn), clusters).p)
        found[seeds] = np.mean(np.array(p) < 0.05)
    assert found[8] == pytest.approx(0.8, abs=0.08) and found[4] < 0.6


def test_more_of_either_never_looks_worse() -> None:
    rows = planned(Components(0.02, 0.001, 0.01, runs=3, clusters=50), [3, 6], [50, 100, 400])
    for seeds in (3, 6):
        differences = [row["difference"] for row in rows if row["seeds"] == seeds]
        assert differences == sorted(differences, reverse=True)


def test_the_line_spans_what_the_comparisons_can_show() -> None:
    size = "With 616 test images of 209 leak groups and 4 seeds, "
    line = power_line({"b": 0.2, "a": 0.0456, "c": 0.609}, 616, 209, "4 seeds", "AUC")
    assert line == (
        f"{size}a true difference in AUC comes out in four of five such sweeps from 0.046 on in the comparison that "
        "varies least, controls aside (a), and from 0.609 on in the one that varies most (c). "
        "Smaller ones come out less often."
    )
    assert power_line({"a": 0.2}, 616, 209, "4 seeds", "AUC") == (
        f"{size}a true difference in AUC comes out in four of five such sweeps from 0.200 on (a). "
        "Smaller ones come out less often."
    )
    assert "from 0.200 on" in (line := power_line({"a": 0.2, "b": 1.2}, 9, 9, "2 seeds", "AUC"))
    assert "and never in the one that varies most (b)" in line
    never = "no difference in AUC comes out in four of five such sweeps."
    assert power_line({"a": 1.2}, 616, 209, "4 seeds", "AUC") == size + never
