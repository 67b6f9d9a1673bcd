"""Ages in bands: one division for plans of images to draw, test sets and figures by group."""

from bisect import bisect_right

BANDS = (30, 45, 60, 75)  # years at which an age band begins: about a fifth of the patients of HAM10000 in each


def age_band(age: float) -> str:
    """The band of an age in years, such as "30-44"."""
    return _name(bisect_right(BANDS, age))


def limits(band: str) -> tuple[float, float]:
    """Years in a band: from the first up to, and without, the second.

    Raises:
        ValueError: no such band.
    """
    if band not in NAMES:
        raise ValueError(f"age_band {band!r}: expected one of {', '.join(NAMES)}")
    edges = (0, *BANDS, float("inf"))
    return edges[NAMES.index(band)], edges[NAMES.index(band) + 1]


def _name(place: int) -> str:
    first = (0, *BANDS)[place]
    return f"{first}+" if place == len(BANDS) else f"{first}-{BANDS[place] - 1}"


NAMES = tuple(_name(place) for place in range(len(BANDS) + 1))
