"""Names of the groups that rows belong to: skin tone, sex, age band, site and source."""

from collections import Counter
from typing import Any

import pyarrow as pa

from dermray.age_bands import age_band
from dermray.where import UNKNOWN as UNKNOWN

COLUMNS = ["skin_tone", "skin_tone_source", "sex", "age", "site", "source"]  # of rows; age becomes age_band
ATTRIBUTES = ("skin_tone", "sex", "age_band", "site", "source")


def attributes_of(table: pa.Table) -> dict[str, list[str]]:
    """N names by attribute, from rows with any of `COLUMNS`; what is null is unknown."""
    there = [name for name in COLUMNS if name in table.column_names]
    named = {name: [_name(name, value) for value in table[name].to_pylist()] for name in there}
    return {"age_band" if name == "age" else name: values for name, values in named.items()}


def estimated(attributes: dict[str, list[str]]) -> Counter[str]:
    """How many rows of each skin tone have it by an estimate, of what `attributes_of` gives; none where rows of an
    earlier version do not say."""
    tones = attributes.get("skin_tone", [])
    sources = attributes.get("skin_tone_source", [UNKNOWN] * len(tones))
    return Counter(tone for tone, source in zip(tones, sources, strict=True) if source == "estimated")


def _name(column: str, value: Any) -> str:
    if value is None:
        return UNKNOWN
    return age_band(float(value)) if column == "age" else str(value)
