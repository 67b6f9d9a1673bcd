from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.synthesis.plan import balanced_plan, cell_counts

CAPTIONS = [
    {
        "sample_id": f"s{i}", "caption": f"caption {i}", "malignant": [True, False, False][i % 3],
        "skin_tone": ["A", "A", "B", None][i % 4], "diagnosis": "d", "entity": "other", "modality": "dermoscopic",
    }
    for i in range(24)
]  # fmt: skip


@given(count=st.integers(1, 100), seed=st.integers(0, 1000))
def test_cells_are_as_even_as_the_count_allows(count: int, seed: int) -> None:
    plan = balanced_plan(CAPTIONS, count, seed)
    counts = list(cell_counts(plan).values())
    assert sum(counts) == count and max(counts) - min(counts) <= 1
    assert len(set(plan["plan_id"].to_pylist())) == count


def test_prompts_come_from_captions_of_their_own_cell() -> None:
    by_id = {row["sample_id"]: row for row in CAPTIONS}
    for request in balanced_plan(CAPTIONS, 60, 0).to_pylist():
        source = by_id[request["prompt_sample_id"]]
        assert request["prompt"] == source["caption"]
        assert (request["malignant"], request["skin_tone"]) == (source["malignant"], source["skin_tone"])


def test_a_plan_depends_on_its_seed_and_not_on_the_order_of_rows() -> None:
    assert balanced_plan(CAPTIONS, 30, 1).equals(balanced_plan(CAPTIONS[::-1], 30, 1))
    assert not balanced_plan(CAPTIONS, 30, 1).equals(balanced_plan(CAPTIONS, 30, 2))
    seeds = balanced_plan(CAPTIONS, 200, 1)["seed"].to_pylist()
    assert len(set(seeds)) == 200
    assert Counter(balanced_plan(CAPTIONS, 30, 1).slice(0, 10)["seed"].to_pylist()) == Counter(
        balanced_plan(CAPTIONS, 10, 1)["seed"].to_pylist()
    ), "a longer plan begins with the shorter one"


def test_nothing_to_balance_over() -> None:
    with pytest.raises(ValueError, match="known label"):
        balanced_plan([row | {"malignant": None} for row in CAPTIONS], 10, 0)
