"""Sweeps of several splits: what they are pooled from is written by hand, as the sweep stage leaves it."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from dermray import manifest
from dermray.classification import trial_files
from dermray.classification.attributes import COLUMNS
from dermray.classification.pools import Pools
from dermray.classification.report_block import KEPT, report_block
from dermray.classification.several_splits import SeveralSplitsConfig, run
from dermray.manifest import Result, Rows

ARMS = (("real only", "baseline", 0.0), ("real + synthetic 1:1", "mixed", 1.0))
NONE = Rows(rows_in=1, ok=1, rejected=0, failed=0)
SPLITS, IMAGES, SEEDS = 4, 60, 2


def swept(place: Path, split: int, group: str = "g", patients: tuple[str, ...] = (), **settings: Any) -> Result:
    """A finished sweep of one split, whose mixed arm is the better one.

    Args:
        patients: pools in which every image has one: real, validation, test. In the others one image lacks it.
    """
    rng = np.random.default_rng(split)
    labels = np.arange(IMAGES) % 2
    made = manifest.Manifest(
        stage="caption", key=f"rows{split}", config={}, inputs={}, data="d", rows=NONE, versions={}, started=0,
        seconds=0, cpus=1, gpus=0,
    )  # fmt: skip
    inputs = {"rows": Result(str(place), made)}
    config = SeveralSplitsConfig(output=f"{place}/{split}", sweeps=("a", "b"), **settings)
    with manifest.work("sweep", config.output, config, inputs) as work:
        pools, trials = Pools(f"{work.data}/pools", {}, ["test"]), []
        ids = [f"{(split * 30 + i):064d}" for i in range(IMAGES)]  # neighbouring splits share half of their images
        given = {"sample_id": ids, "leak_group": [f"{group}{split * 30 + i}" for i in range(IMAGES)]}
        rows = pa.table(given | {name: pa.nulls(IMAGES, pa.string()) for name in COLUMNS})
        rows = rows.append_column("label", pa.array(labels)).append_column("_file", pa.nulls(IMAGES, pa.string()))
        for name, file in (("test", pools.test("test")), ("validation", pools.validation), ("real", pools.real)):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            known = pa.array([f"p{i}" if i or name in patients else None for i in range(IMAGES)], pa.string())
            pq.write_table(rows.append_column("patient_id", known), file)
        for arm, role, ratio in ARMS:
            for seed in range(SEEDS):
                said = 1 / (1 + np.exp(-(labels * (1 + ratio) + rng.normal(0, 1, IMAGES))))
                key = f"{arm}-{seed}".replace(" ", "_").replace(":", "_")
                named = {"arm": arm, "role": role, "ratio": ratio, "source": "", "seed": seed, "key": key}
                named |= {"real_images": 20, "backbone": "net", "training_images": round(20 * (1 + ratio))}
                scores = np.stack([1 - said, said], 1)
                trial_files.write(f"{work.data}/trials", key, named, {"test": scores, "validation": scores}, [])
                trials.append(named | {"auc": roc_auc_score(labels, said)})
        told: dict[str, Any] = {"trials": trials, "tests": {"test": {}}, "classes": ["benign", "malignant"]}
        return work.commit(NONE, 1, cpus=1, gpus=0, **told)


def pooled(place: Path, *sweeps: Result) -> Result:
    return run(SeveralSplitsConfig(output=f"{place}/pooled", sweeps=tuple(s.uri for s in sweeps), resamples=50))


def test_a_split_counts_once(tmp_path: Path) -> None:
    sweeps = [swept(tmp_path, split) for split in range(SPLITS)]
    result = pooled(tmp_path, *sweeps)
    [row] = result.manifest.metrics["verdict"]
    by_split = []
    for sweep in sweeps:
        aucs = {arm: [t["auc"] for t in sweep.manifest.metrics["trials"] if t["arm"] == arm] for arm, *_ in ARMS}
        by_split.append(np.mean(aucs["real + synthetic 1:1"]) - np.mean(aucs["real only"]))
    assert row["mean"] == pytest.approx(np.mean(by_split), abs=1e-9)
    assert row["pairs"] == SPLITS * SEEDS and result.manifest.metrics["tested"][0]["splits"] == SPLITS
    # no narrower than what the splits alone say: test images are no less uncertain for there being several
    alone = student.isf(0.025, SPLITS - 1) * np.std(by_split, ddof=1) / SPLITS**0.5
    assert 0.3 * alone < (row["high"] - row["low"]) / 2
    assert f"and {SEEDS} seeds of {SPLITS} splits, a true difference" in result.manifest.metrics["summary"]
    assert {(r["arm"], *r["trained_on"]) for r in result.manifest.metrics["tested"][0]["arms"]} == {
        ("real only", 20, 0), ("real + synthetic 1:1", 20, 20),
    }  # fmt: skip
    text = (Path(result.data) / "page.html").read_text()
    assert f"of {SPLITS} splits" in text and "One split and one training" not in text


EVERYWHERE = ("real", "validation", "test")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (EVERYWHERE, "of other patients."),
        (("validation", "test"), "of other leak groups (lesions or patients, as far as they are known)."),
        (("real", "validation"), "of other leak groups (lesions or patients, as far as they are known)."),
    ],
)
def test_patients_are_said_to_be_others_only_where_all_are_known(
    tmp_path: Path, second: tuple[str, ...], said: str
) -> None:
    sweeps = [swept(tmp_path, split, patients=known) for split, known in enumerate((EVERYWHERE, second))]
    several = pooled(tmp_path, *sweeps)
    html = report_block(several, dict(zip("ab", sweeps, strict=True))).html
    assert f"2 sweeps of different splits of the same data together, each tested on real images {said}" in html
    facts: dict[str, Any] = dict.fromkeys(KEPT, 0) | {"overall": {}, "groups": {}, "auc_gap": None}
    metrics = several.manifest.metrics | {"trials": [facts]}
    one = Result(several.uri, several.manifest.model_copy(update={"metrics": metrics}))
    assert f"equal steps, tested on real images {said}" in report_block(one, {}).html
    leaking = Result(several.uri, several.manifest.model_copy(update={"leaking_groups": {"rows": 3}}))
    assert "each tested on real images.</p>" in report_block(leaking, {}).html


def test_what_cannot_be_pooled_is_refused(tmp_path: Path) -> None:
    first, second = swept(tmp_path, 0), swept(tmp_path, 1)
    with pytest.raises(ValueError, match="are of the same rows, and so of the same split"):
        pooled(tmp_path, first, first)
    with pytest.raises(ValueError, match=r"has other settings than .*seed: 0, 7.*; sweep each split alike"):
        pooled(tmp_path, first, swept(tmp_path, 2, seed=7))
    with pytest.raises(ValueError, match="is in leak group h30 in .* and in g30 in another; ingest the same sources"):
        pooled(tmp_path, first, swept(tmp_path / "other", 1, group="h"))
    with pytest.raises(FileNotFoundError):
        pooled(tmp_path, second, Result(f"{tmp_path}/none", second.manifest))
