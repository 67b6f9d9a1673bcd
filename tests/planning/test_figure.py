"""What a figure that is made of others rests on, and which bound is left of theirs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.planning.figure import SURENESS, Bound, Figure, at_most, computed, product, total, unknown

KNOWN = st.builds(
    Figure,
    st.floats(0.5, 1e6),
    st.sampled_from(SURENESS[:-1]),
    st.just("because"),
    st.sampled_from(["", "at most", "at least", "about"]),
)


@given(st.lists(KNOWN, min_size=1, max_size=4))
def test_what_is_made_of_several_is_no_surer_than_any_of_them(parts: list[Figure]) -> None:
    for made in (product(parts, "x"), total(parts, "x")):
        assert made.basis == max((part.basis for part in parts), key=SURENESS.index)
        bounds = {part.bound for part in parts} - {""}
        assert made.bound == ("" if not bounds else bounds.pop() if len(bounds) == 1 else "about")


def test_an_unknown_factor_leaves_nothing_and_an_unknown_summand_a_lower_bound() -> None:
    nothing, two = unknown("nobody counted"), computed(2, "")
    assert product([two, nothing], "x") == unknown("nobody counted")
    assert total([two, nothing], "x") == Figure(2, "computed", "x", "at least")
    assert total([at_most(two), nothing], "x").bound == "about", "at most 2 and something unknown are neither"
    assert total([nothing, nothing], "x") == nothing and total([], "none").value == 0


@pytest.mark.parametrize(("value", "basis"), [(None, "computed"), (1.0, "unknown"), (float("inf"), "computed")])
def test_a_figure_is_known_or_not(value: float | None, basis: str) -> None:
    with pytest.raises(AssertionError):
        Figure(value, basis, "")  # type: ignore[arg-type]  # that is asked


@pytest.mark.parametrize(("bound", "left"), [("", "at most"), ("at most", "at most"), ("at least", "about")])
def test_an_upper_bound_of_a_bound(bound: Bound, left: Bound) -> None:
    assert at_most(Figure(1, "computed", "", bound)).bound == left
