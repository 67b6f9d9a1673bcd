"""Splits as papers have published them, image by image: what leaks is counted, and nothing else has changed."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermray import manifest
from dermray.config import ConfigError, validate
from dermray.datasets import ingest
from dermray.datasets.assignment import Assignment
from dermray.datasets.grouping import KEY_COLUMNS, Grouping, assigned
from dermray.datasets.looking import RAW
from dermray.records import SPLITS
from tests.conftest import call_cli
from tests.datasets.test_assignment import raw


def assignment(patients: list[int], official: dict[int, str] | None = None, **config: Any) -> Assignment:
    """Of images of these patients, some of which have a split."""
    rows = [
        raw(number, patient_id=f"c/p{patient}", split=(official or {}).get(number))
        for number, patient in enumerate(patients)
    ]
    schema = pa.schema([RAW.field(name) for name in KEY_COLUMNS])
    return assigned(pa.Table.from_pylist(rows, schema=schema), validate(Grouping, {"stratify": "malignant"} | config))


def leaking(made: Assignment) -> tuple[int, int]:
    """Groups in several splits and their images, counted one by one."""
    splits = defaultdict[int, list[int]](list)
    for group, split in zip(made.groups.tolist(), made.splits.tolist(), strict=True):
        splits[group].append(split)
    across = [of for of in splits.values() if len(set(of)) > 1]
    return len(across), sum(map(len, across))


@settings(max_examples=25, deadline=None)
@given(patients=st.lists(st.integers(0, 15), min_size=60, max_size=90), seed=st.integers(0, 3))
def test_counts_are_true_and_the_same_again(patients: list[int], seed: int) -> None:
    made = assignment(patients, split_by="image", seed=seed)
    told = made.facts["split_by_image"]
    assert (told["leaking_groups"], told["images"]) == leaking(made) and not told["published_test_split"]
    assert set(made.splits.tolist()) == {0, 1, 2} and (made.reasons < 0).all()
    assert made.digest() == assignment(patients, split_by="image", seed=seed).digest()
    shares = np.bincount(made.splits) / len(patients)
    assert np.allclose(shares, [0.7, 0.1, 0.2], atol=0.06), "no group pulls its images along"


def test_the_default_keeps_groups_whole_and_counts_nothing() -> None:
    patients = [number // 3 for number in range(90)]
    whole = assignment(patients)
    assert whole.digest() == assignment(patients, split_by="group").digest()
    assert leaking(whole) == (0, 0) and "split_by_image" not in whole.facts
    by_image = assignment(patients, split_by="image")
    assert np.array_equal(by_image.groups, whole.groups), "groups are told all the same"
    assert leaking(by_image)[0] > 10


def test_published_splits_stay_as_they_are_whatever_they_share() -> None:
    patients = [number // 2 for number in range(80)]
    official = {number: "test" if number % 4 == 0 else "train" for number in range(80)}
    made = assignment(patients, official, split_by="image", stratify="malignant", fractions={"train": 0.8, "val": 0.0})
    assert (made.reasons < 0).all() and made.facts["split_by_image"]["published_test_split"]
    assert np.bincount(made.splits, minlength=3).tolist() == [60, 0, 20]
    assert made.facts["split_by_image"]["leaking_groups"] == 20
    whole = assignment(patients, official, fractions={"train": 0.8, "val": 0.0})
    assert (whole.reasons >= 0).sum() == 20, "by group, the train images of the 20 patients go"


def test_earlier_splits_and_splits_by_image_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="previous=runs/a: new images join the splits of their leak groups"):
        validate(Grouping, {"previous": "runs/a", "split_by": "image"})


@pytest.mark.slow
def test_an_ingest_says_so_and_so_does_what_is_made_from_it(
    local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = [{"source": "phantom", "count": 90, "size": 32, "broken": 0.0}]
    config = {"output": f"{tmp_path}/ingest", "sources": sources, "split_by": "image"}
    made = ingest.run(validate(ingest.IngestConfig, config))
    [groups] = made.manifest.leaking_groups.values()
    assert groups == made.manifest.metrics["split_by_image"]["leaking_groups"] > 5
    mark = f"split by image: {groups} leak groups lie in several splits, so scores on val and test images are inflated"
    assert f"WARNING: {mark} (" in capsys.readouterr().out
    code, out, err = call_cli(capsys, "describe", f"{tmp_path}/ingest", "--json", f"{tmp_path}/d.json")
    assert code == 0 and mark in out and f"{groups} LIE IN SEVERAL SPLITS" in out, err
    assert manifest.read(f"{tmp_path}/ingest").manifest.leaking_groups == {made.manifest.key: groups}
    code, _, err = call_cli(capsys, "export", f"{tmp_path}/ingest", f"{tmp_path}/exported")
    assert code == 2 and f"{mark}; an exported data set promises splits" in err
    assert set(SPLITS) == made.manifest.metrics["splits"].keys()
