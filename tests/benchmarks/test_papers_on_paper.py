"""The arithmetic of the papers' GPU-hours against what it was made from, and against published counts."""

from pathlib import Path

import pytest

from benchmarks import papers_on_paper as paper
from dermray.planning.counting import counted

RESULTS = Path(paper.__file__).parent / "results"
OPERATIONS = counted()


def test_an_hour_of_a_card() -> None:
    hours = paper.gpu_hours(0.35 * 312e12 * 3600, "bf16")
    assert hours["A100"] == pytest.approx(1) and hours["H100"] == pytest.approx(312 / 989.5)


@pytest.mark.parametrize(
    ("answers", "read", "written", "seconds"), [(768, 784_912, 0, 43.81), (505, 214_424, 517_120, 66.75)]
)
def test_published_runs_take_their_published_times(answers: int, read: int, written: int, seconds: float) -> None:
    """One token of an answer comes with its prompt."""
    hours = paper.answer_hours(1, (read, written))["H200"]
    assert hours * 3600 == pytest.approx(seconds)
    assert paper.answer_hours(answers, (7, 5))["H200"] == pytest.approx(answers * paper.answer_hours(1, (7, 5))["H200"])


def test_a_step_of_dit_takes_what_its_paper_says() -> None:
    """Peebles and Xie 2023, Table 4: DiT-L/4 has 19.70 Gflops at 256 px, which are multiplications with an addition."""
    assert OPERATIONS["dit"]["step"] == pytest.approx(2 * 19.70e9, rel=0.001)


def test_a_step_of_flux_is_that_of_its_equations() -> None:
    counted = OPERATIONS["flux_512"]
    assert paper.flux_step(512) == pytest.approx(counted["step"], rel=0.01)
    assert paper.flux_trained(counted["train"], 512) == counted["train"]
    assert 3 * paper.flux_step(512) == pytest.approx(counted["train"], rel=0.05), (
        "forward twice and gradients passed on"
    )


def test_counts_of_the_papers() -> None:
    assert sum(paper.DERMAFLUX.values()) == 508_344
    trainings, images = paper.swept("dermaflux_sources")
    # of 2,500: real; of two sources 1:2, shuffled 1:2 and 0:2.4; three times as many real ones
    assert trainings == 5 * (1 + 2 * 3 + 1)
    assert images == 5 * 40 * 2500 * (1 + 2 * (3 + 3 + 2.4) + 3)


def test_every_stage_says_what_its_figure_is() -> None:
    rows = paper.lines(OPERATIONS)
    assert {row.paper[:3] for row in rows} == {"000", "001", "002", "003"}
    for row in rows:
        assert bool(row.hours) == (row.kind in ("computed", "published rate"))
        assert (row.operations is not None) == (row.kind == "computed")
    text = paper.table([row for row in rows if not row.hours])
    assert text.splitlines()[2].count("|  ") == 5, "operations and hours are left out, not nought"


def test_the_result_is_what_is_printed() -> None:
    assert paper.table(paper.lines(OPERATIONS)) in (RESULTS / "papers_on_paper.md").read_text()
