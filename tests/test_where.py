"""Rows that a config means: one by one and as a filter of files."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.age_bands import NAMES, age_band, limits
from dermray.records import read_columns
from dermray.where import AGE_BAND, check, matches, rows_where

AGES = [None, float("nan"), 0.0, 29.0, 29.5, 30.0, 44.9, 45.0, 74.0, 75.0, 99.0]
ROWS = [
    {"age": age, "skin_tone": tone, "malignant": malignant}
    for age in AGES
    for tone in ("A", "C", None)
    for malignant in (True, False, None)
]
WHERE = st.fixed_dictionaries(
    {},
    optional={
        AGE_BAND: st.lists(st.sampled_from([*NAMES, "unknown"]), min_size=1),
        "skin_tone": st.lists(st.sampled_from(["A", "B", "C", "unknown"]), min_size=1),
        "malignant": st.lists(st.booleans(), min_size=1),
    },
).filter(bool)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("rows")
    schema = pa.schema(
        [("age", pa.float32()), ("skin_tone", pa.string()), ("malignant", pa.bool_()), ("n", pa.int64())]
    )
    rows = [row | {"n": n} for n, row in enumerate(ROWS)]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), place / "rows.parquet")
    return place


@given(where=WHERE)
def test_a_filter_lets_the_rows_pass_that_match(directory: Path, where: Any) -> None:
    there = read_columns(str(directory), ["n"], rows_where(check(where, list(where))))["n"].to_pylist()
    assert there == [n for n, row in enumerate(ROWS) if matches(where, row)]


def test_bands_are_where_ages_lie() -> None:
    for name in NAMES:
        first, after = limits(name)
        assert age_band(first) == name and age_band(min(after, 200) - 0.5) == name
    with pytest.raises(ValueError, match="age_band '30-45': expected one of 0-29, 30-44, 45-59, 60-74, 75"):
        limits("30-45")
