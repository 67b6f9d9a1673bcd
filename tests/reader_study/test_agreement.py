"""Against worked examples of those who made the coefficients."""

import numpy as np
import pytest

from dermray.reader_study.agreement import agreement, fleiss, krippendorff


def table(*readers: str) -> np.ndarray:
    """A line a reader; a point is no answer."""
    return np.array([[-1 if word == "." else ord(word) for word in line.split()] for line in readers])


@pytest.mark.parametrize(
    ("readers", "alpha"),
    [
        # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", sections A (binary), B and C (with gaps)
        (("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"), 0.095),
        (("a a b b d c c c e d d a", "b a b b b c c c e d d d"), 0.692),
        (
            (
                "1 2 3 3 2 1 4 1 2 . . .",
                "1 2 3 3 2 2 4 1 2 5 . 3",
                ". 3 3 3 2 3 4 2 2 5 1 .",
                "1 2 3 3 2 4 4 1 2 5 1 .",
            ),
            0.743,
        ),
    ],
)
def test_krippendorffs_own_examples(readers: tuple[str, ...], alpha: float) -> None:
    found = krippendorff(table(*readers))
    assert found is not None and round(found, 3) == alpha


def test_fleiss_own_example() -> None:
    """Fleiss 1971 as Wikipedia works it: 14 raters, 10 subjects, 5 categories; kappa 0.210."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    said = np.array([np.repeat(np.arange(5), row) for row in counts]).T
    found = fleiss(said, 5)
    assert found is not None and round(found, 3) == 0.210


def test_cohens_kappa_of_pairs_on_what_both_answered() -> None:
    """Cohen's 2 x 2 example of Wikipedia: 20 and 15 agreed, 5 and 10 not; kappa 0.4."""
    first = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    second = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    gaps = np.array([-1, 1])  # answered by one reader alone
    said = np.array([np.append(first, gaps), np.append(second, gaps[::-1])])
    found = agreement(["ada", "bob"], said, 2)
    [pair] = found["pairs"]
    assert pair["readers"] == ["ada", "bob"] and pair["images"] == 50 and pair["same"] == 0.7
    assert pair["kappa"] == pytest.approx(0.4)
    assert found["fleiss"]["images"] == found["krippendorff"]["images"] == 50


def test_no_coefficient_where_chance_agreement_is_all_there_is() -> None:
    same = agreement(["a", "b"], np.zeros((2, 5), int), 3)
    assert same["pairs"][0]["kappa"] is same["fleiss"]["kappa"] is same["krippendorff"]["alpha"] is None
    apart = agreement(["a", "b"], np.array([[0, 1, -1], [-1, -1, 2]]), 3)
    assert apart["pairs"][0]["same"] is apart["krippendorff"]["alpha"] is apart["fleiss"]["kappa"] is None


def test_complete_answers_without_gaps_give_alpha_near_fleiss() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 7, 140)
    said = np.where(rng.random((3, 140)) < 0.6, truth, rng.integers(0, 7, (3, 140)))
    alpha, kappa = krippendorff(said), fleiss(said, 7)
    assert alpha is not None and kappa is not None
    # alpha corrects for small samples, by (1 - kappa) / (number of answers)
    assert alpha == pytest.approx(kappa + (1 - kappa) / (3 * 140), abs=1e-12)
