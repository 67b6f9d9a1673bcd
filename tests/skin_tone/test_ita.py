import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.skin_tone.ita import LIMITS, angle, class_of, tone_of

LIGHTNESS, YELLOW = st.floats(0, 100), st.floats(0.1, 60)


@given(LIGHTNESS, LIGHTNESS, YELLOW)
def test_lighter_skin_has_a_larger_angle_and_no_later_group(one: float, other: float, yellow: float) -> None:
    dark, light = sorted((one, other))
    assert angle(dark, yellow) <= angle(light, yellow)
    assert class_of(angle(dark, yellow)) >= class_of(angle(light, yellow))
    assert tone_of(angle(dark, yellow)) >= tone_of(angle(light, yellow))


@given(LIGHTNESS, YELLOW)
def test_it_is_chardons_formula(lightness: float, yellow: float) -> None:
    assert angle(lightness, yellow) == pytest.approx(math.atan((lightness - 50) / yellow) * 180 / math.pi)


def test_classes_begin_above_their_limits() -> None:
    assert [*LIMITS] == [55, 41, 28, 10, -30]
    at = [(90, 1, "A"), (55.1, 1, "A"), (55, 2, "A"), (41.1, 2, "A"), (41, 3, "B"), (28, 4, "B"), (10.1, 4, "B"),
          (10, 5, "C"), (-29.9, 5, "C"), (-30, 6, "C"), (-90, 6, "C")]  # fmt: skip
    assert [(degrees, class_of(degrees), tone_of(degrees)) for degrees, *_ in at] == at


@pytest.mark.parametrize("yellow", [0, -3.0, math.nan])
def test_a_colour_without_yellow_has_no_angle(yellow: float) -> None:
    with pytest.raises(ValueError, match="expected a number above 0"):
        angle(60, yellow)
