"""What is counted equals what pandas counts in the same rows."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.columns import OTHER
from dermray.datasets.leaks import Keys
from dermray.describe import counts
from dermray.describe.counts import count, quantile
from dermray.describe.lines import ALL, IDENTITIES, SIDE_NAMES, UNKNOWN, Distinct, Line, Lines, lines
from dermray.manifest import Result
from dermray.records import IMAGES
from tests.describe.made import ingested, population


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return population(240)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> Result:
    return ingested(f"{tmp_path_factory.mktemp('described')}/rows", rows)


@pytest.fixture(scope="module")
def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([dict.fromkeys(IMAGES.names) | row for row in rows]).drop(columns="image")


@pytest.fixture(scope="module")
def found(result: Result) -> Lines:
    known = Distinct()
    for column in IDENTITIES.values():
        known.add(Keys.read(result.row_files(), column))
    return lines(count(result.row_files()), known)


def agrees(line: Line, part: pd.DataFrame) -> None:
    assert line.images == len(part)
    label = part["malignant"].map({True: "malignant", False: "benign"}).fillna(UNKNOWN)
    assert {k: n for k, n in line.label.items() if n} == label.value_counts().to_dict()
    tone = part["skin_tone"].fillna(UNKNOWN)
    assert {k: n for k, n in line.skin_tone.items() if n} == tone.value_counts().to_dict()
    cross = pd.crosstab(label, tone)
    for name, by_tone in line.label_by_tone.items():
        assert {k: n for k, n in by_tone.items() if n} == {
            k: n for k, n in (cross.loc[name] if name in cross.index else pd.Series()).items() if n
        }
    for column in ("entity", "diagnosis", "site", "licence"):
        told = {"entity": line.entities, "diagnosis": line.diagnoses, "site": line.sites, "licence": line.licences}
        assert told[column] == part[column].fillna(UNKNOWN).value_counts().to_dict()
    ages = part["age"].astype(float)
    assert line.age[UNKNOWN] == ages.isna().sum()
    for name, share in {"quartile_1": 0.25, "median": 0.5, "quartile_3": 0.75}.items():
        assert line.age[name] == pytest.approx(ages.quantile(share))
    shorter = pd.cut(part[["width", "height"]].min(axis=1), [0, 128, 256, 512, 10**6], right=False, labels=SIDE_NAMES)
    assert line.shorter_side == shorter.value_counts().reindex(SIDE_NAMES).to_dict()
    assert line.missing == {name: int(part[name].isna().sum()) for name in line.missing}
    assert [line.patients, line.lesions, line.leak_groups] == [
        part[name].nunique() for name in ("patient_id", "lesion_id", "leak_group")
    ]


def test_of_all_of_each_source_and_split(found: Lines, table: pd.DataFrame) -> None:
    ok = table[table["status"] == "ok"]
    agrees(found.total, ok)
    assert [line.source for line in found.sources] == ["left", "right"]
    for line in found.sources:
        agrees(line, ok[ok["source"] == line.source])
    assert [line.split for line in found.splits] == ["train", "val", "test"]
    for line in found.splits:
        agrees(line, ok[ok["split"] == line.split])
    assert len(found.parts) == 6
    for line in found.parts:
        agrees(line, ok[(ok["source"] == line.source) & (ok["split"] == line.split)])
        assert line.flat()["split"] == line.split != ALL


def test_rejected_rows_by_their_kind_of_reason(result: Result, table: pd.DataFrame) -> None:
    counted = count(result.row_files()).statuses
    rejected = table[table["status"] == "rejected"].groupby("source").size()
    assert {key: n for key, n in counted.items() if key[1] != "ok"} == {
        (source, "rejected", "odd"): n for source, n in rejected.items()
    }
    assert counted.total() == len(table)


@given(ages=st.lists(st.integers(0, 12_000), min_size=1, max_size=60), share=st.sampled_from([0, 0.25, 0.5, 0.75, 1]))
def test_quantiles_are_numpys(ages: list[int], share: float) -> None:
    assert quantile(Counter([*ages, None]), share) == pytest.approx(np.quantile(np.array(ages) / 100, share))


def test_no_age_has_no_quantile() -> None:
    assert quantile(Counter({None: 5}), 0.5) is None


def test_words_beyond_the_limit_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = population(60)
    for place, row in enumerate(rows):
        row["diagnosis"] = f"word {place}"
    monkeypatch.setattr(counts, "KINDS", 20)
    counted = count(ingested(f"{tmp_path}/many", rows).row_files())
    assert counted.by("diagnosis").total() == counted.cube.total() == sum(row["status"] == "ok" for row in rows)
    assert len(counted.by("diagnosis")) == 21 and counted.by("diagnosis")[OTHER] > 0
