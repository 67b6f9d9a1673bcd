"""Names of the groups that rows belong to: skin tone, sex, age band, site and source."""

from typing import Any

import numpy as np
import pyarrow as pa

COLUMNS = ["skin_tone", "sex", "age", "site", "source"]  # of rows; age becomes age_band
ATTRIBUTES = ("skin_tone", "sex", "age_band", "site", "source")
UNKNOWN = "unknown"
BANDS = (30, 45, 60, 75)  # years at which an age band begins: about a fifth of the patients of HAM10000 in each


def attributes_of(table: pa.Table) -> dict[str, list[str]]:
    """N names by attribute, from rows with any of `COLUMNS`; what is null is unknown."""
    there = [name for name in COLUMNS if name in table.column_names]
    named = {name: [_name(name, value) for value in table[name].to_pylist()] for name in there}
    return {"age_band" if name == "age" else name: values for name, values in named.items()}


def _name(column: str, value: Any) -> str:
    if value is None:
        return UNKNOWN
    return age_band(float(value)) if column == "age" else str(value)


def age_band(age: float) -> str:
    """The band of an age in years, such as "30-44"."""
    place = int(np.searchsorted(BANDS, age, side="right"))
    first = (0, *BANDS)[place]
    return f"{first}+" if place == len(BANDS) else f"{first}-{BANDS[place] - 1}"
