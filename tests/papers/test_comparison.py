import pytest

from dermray.config import validate
from dermray.papers.comparison import Row, compare, matches, unproducible
from dermray.papers.measured import Measured
from dermray.papers.published import PAPERS, Paper, read
from dermray.papers.setting import Setting

TABLE = {
    "name": "Table 9", "about": "accuracy", "read_at": "Table 9", "ours": {"stage": "sweep", "metric": "accuracy"},
    "setting": {"data": ["ddi"]}, "unread": "a picture",
    "rows": [
        {"labels": {"model": "a"}, "ours": {"role": "mixed|baseline"}, "printed": "0.70"},
        {"labels": {"model": "b"}, "ours": {"role": "zero-shot"}, "printed": "."},
        {"labels": {"model": "c"}, "printed": "0.9", "no_stage": "it needs a fork"},
        {"labels": {"model": "d"}, "ours": {"role": "none of these"}, "printed": "0.9"},
    ],
}  # fmt: skip
PAPER = validate(Paper, {"paper": "p", "number": "9", "title": "t", "tables": [TABLE]})


def ours(role: str, value: float | None, low: float | None = None, high: float | None = None) -> Measured:
    where = {"stage": "sweep", "metric": "accuracy", "role": role}
    return Measured(where, value, low, high, setting=Setting(data=("ddi",)))


def rows(*measured: Measured) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in compare(PAPER, measured, "paper"):
        found.setdefault(row.cell.labels["model"], []).append(row)
    return found


@pytest.mark.parametrize(("low", "high", "inside"), [
    (0.68, 0.72, True), (0.704, 0.8, True), (0.706, 0.8, False), (0.6, 0.694, False), (0.6, 0.696, True),
])  # fmt: skip
def test_a_comparable_number_lies_in_our_interval_as_far_as_it_was_rounded(
    low: float, high: float, inside: bool
) -> None:
    [row] = rows(ours("mixed", 0.7, low, high))["a"]
    assert row.comparable and row.inside is inside


def test_several_of_ours_stand_beside_one_of_the_papers() -> None:
    assert [row.ours.value for row in rows(ours("mixed", 0.1), ours("baseline", 0.2))["a"] if row.ours] == [0.1, 0.2]
    [row] = rows(ours("mixed", 0.7))["a"]
    assert row.comparable and row.inside is None, "without an interval nobody can tell"


def test_what_is_missing_on_either_side_is_said() -> None:
    found = rows(ours("mixed", None), ours("zero-shot", 0.6, 0.5, 0.7))
    assert found["a"][0].reasons == ("ours was not computed",)
    assert found["b"][0].reasons == ("a picture",) and found["b"][0].inside is None
    assert found["b"][0].ours is not None, "ours is shown all the same"
    assert found["c"][0].reasons == ("no stage of ours writes it: it needs a fork",)
    assert found["d"][0].reasons == ("no result of sweep in this run has it",)
    assert [cell.labels["model"] for cell in unproducible(PAPER)] == ["c"]


def test_ours_is_known_by_all_that_is_asked() -> None:
    where = {"stage": "sweep", "role": "mixed"}
    assert matches({"role": "mixed|baseline"}, where) and matches({}, where)
    assert not matches({"role": "mix"}, where) and not matches({"role": "mixed", "ratio": "1"}, where)


def test_each_number_of_each_paper_has_a_row_in_a_run_without_results() -> None:
    for name in PAPERS:
        paper = read(name)
        found = compare(paper, [], "paper")
        assert [row.cell.key for row in found] == [cell.key for cell in paper.cells()]
        assert not any(row.comparable for row in found)
    assert [len(unproducible(read(name))) for name in PAPERS] == [2, 0, 9, 0]
