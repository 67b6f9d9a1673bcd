"""Which rows a config means, such as `{skin_tone: [C], age_band: [60-74, 75+]}`: one way to say it for every stage."""

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dermray.age_bands import age_band, limits
from dermray.records import IMAGES

AGE_BAND = "age_band"  # of the column age
UNKNOWN = "unknown"  # among texts: rows where the column is null
Where = dict[str, list[str | bool | int]]  # column -> values, any of which a row may have in it
_KINDS = {bool: "true and false", str: "texts", int: "whole numbers"}


def check(where: Where, columns: Iterable[str]) -> Where:
    """What a config says, where it can be meant.

    Raises:
        ValueError: none of `columns`, or values of another kind than the column's.
    """
    known = list(columns)
    if unknown := sorted(set(where) - set(known)):
        raise ValueError(f"no such columns: {unknown}; expected some of {', '.join(known)}")
    for column, values in where.items():
        kind = _kind(column)
        if not values or any(type(value) is not kind for value in values):
            raise ValueError(f"{column}: expected a list of {_KINDS[kind]}, got {values}")
        if column == AGE_BAND:
            for value in values:
                _ = value == UNKNOWN or limits(str(value))
    return where


def rows_where(where: Where) -> Any:
    """The same as a pyarrow dataset filter; None where it says nothing."""
    wanted = None
    for column, values in where.items():
        one = _age(values) if column == AGE_BAND else _values(column, values)
        wanted = one if wanted is None else wanted & one
    return wanted


def matches(where: Where, row: dict[str, Any]) -> bool:
    """Whether one row is meant."""
    return all(_named(column, value(row, column)) in values for column, values in where.items())


def value(row: dict[str, Any], column: str) -> Any:
    """What a row has in a column, or its age band."""
    if column != AGE_BAND:
        return row[column]
    age = row["age"]
    return None if age is None or age != age else age_band(age)  # NaN says nothing


def _named(column: str, found: Any) -> Any:
    return UNKNOWN if found is None and _kind(column) is str else found


def _kind(column: str) -> type:
    """Of the values that a column is compared with: Arrow would refuse others only when it reads the rows."""
    if column == AGE_BAND:
        return str
    arrow = IMAGES.field(column).type
    return bool if pa.types.is_boolean(arrow) else str if pa.types.is_string(arrow) else int


def _values(column: str, values: list[str | bool | int]) -> Any:
    wanted = pc.field(column).isin(values)
    return wanted | pc.field(column).is_null() if UNKNOWN in values else wanted


def _age(bands: list[str | bool | int]) -> Any:
    age = pc.field("age")
    edges = [limits(str(band)) for band in bands if band != UNKNOWN]
    parts = [(age >= first) & (age < after) for first, after in edges]
    return reduce(or_, [*parts, age.is_null(nan_is_null=True)] if UNKNOWN in bands else parts)
