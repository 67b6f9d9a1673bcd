"""Groups that images are measured in one by one, by attributes of their rows. What is unknown is in no group."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from dermray.age_bands import age_band
from dermray.evaluation.settings import Attribute

COLUMNS: dict[Attribute, str] = {
    "entity": "entity",
    "label": "malignant",
    "skin_tone": "skin_tone",
    "age_band": "age",
    "sex": "sex",
    "site": "site",
}  # of rows


def columns_of(attributes: Sequence[Attribute]) -> list[str]:
    """Of rows, that these attributes are read from."""
    return [COLUMNS[name] for name in attributes]


def names(table: pa.Table, attribute: Attribute) -> list[str | None]:
    """The group of each row, or None where it is unknown."""
    return [_name(attribute, value) for value in table[COLUMNS[attribute]].to_pylist()]


def _name(attribute: Attribute, value: Any) -> str | None:
    if value is None or value != value:  # NaN says nothing either
        return None
    if attribute == "label":
        return "malignant" if value else "benign"
    return age_band(float(value)) if attribute == "age_band" else str(value)
