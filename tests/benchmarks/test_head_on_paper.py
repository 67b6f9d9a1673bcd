"""The arithmetic of a head node's size against what was measured."""

from pathlib import Path

import pytest

from benchmarks import head_on_paper as paper
from dermray.planning.head import head

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


def test_a_head_is_as_large_as_it_was_measured() -> None:
    """After 19,536 blocks, and at the end of a job of 3,000,000 rows: benchmarks/results/scale_of_captioning.md."""
    of = head(19_536 * 256)
    assert of.driver == pytest.approx(624, rel=0.03) and of.gcs == pytest.approx(260, rel=0.03)
    assert (head(3_000_000).end, head(3_000_000).comparison) == (184, 212)


def test_the_page_has_what_is_printed() -> None:
    page = PAGE.read_text()
    assert paper.head_table() in page and paper.fleet_table() in page
