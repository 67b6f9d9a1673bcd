"""The individual typology angle of a skin colour, and the group of skin tones that it stands for.

ITA = arctan((L* - 50) / b*) in degrees (Chardon, Cretois and Hourseau 1991, doi:10.1111/j.1467-2494.1991.tb00561.x):
light skin has large angles. Its six classes are very light, light, intermediate, tan, brown and dark; they are often
read as Fitzpatrick types I to VI (Kinyanjui et al. 2020 and Groh et al. 2021, with other limits for the dark ones). A
Fitzpatrick type says how skin reacts to the sun, not what colour it has, so this reading is rough in the best light.
"""

from collections.abc import Sequence

import numpy as np

from dermray.records import skin_tone_of

LIMITS = (55.0, 41.0, 28.0, 10.0, -30.0)  # degrees, above which a skin is of class 1 to 5; else it is of class 6


def angle(lightness: float, yellow: float) -> float:
    """Degrees, of L* (0 to 100) and b*.

    Raises:
        ValueError: b* is not above zero. No skin is so blue in white light, and the angle would have no meaning.
    """
    if not yellow > 0:
        raise ValueError(f"b*={yellow}: expected a number above 0; colours without yellow have no typology angle")
    return float(np.degrees(np.arctan((lightness - 50) / yellow)))


def class_of(degrees: float, limits: Sequence[float] = LIMITS) -> int:
    """1 (very light) to 6 (dark)."""
    return 1 + sum(degrees <= limit for limit in limits)


def tone_of(degrees: float, limits: Sequence[float] = LIMITS) -> str:
    """A, B or C: two classes each, as DDI groups Fitzpatrick types."""
    tone = skin_tone_of(class_of(degrees, limits))
    assert tone is not None
    return tone
