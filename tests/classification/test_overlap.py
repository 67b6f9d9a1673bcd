"""Which test images are shared with training."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dermray.classification.overlap import PRINT_COLUMNS, counted, near_in, shared
from dermray.datasets.near_duplicates import fingerprint

COLUMNS = ("sample_id", "patient_id", "lesion_id", "leak_group")


def rows(*given: tuple[str | None, ...]) -> pa.Table:
    columns = zip(*given, strict=True)
    return pa.table([pa.array(values, pa.string()) for values in columns], names=COLUMNS)


SEEN = rows(("a", "P1", "L1", "g1"), ("b", None, None, "g2"), ("c", "P2", None, "g3"))


def test_each_kind_of_sharing_is_found_and_its_group_goes_with_it() -> None:
    test = rows(
        ("a", None, None, "t1"),  # the same image
        ("x", "P2", None, "t2"),  # a patient
        ("y", None, "L1", "t3"),  # a lesion
        ("z", None, None, "t4"),  # a near duplicate
        ("w", "P9", "L9", "t4"),  # of that one's group
        ("v", None, None, "g1"),  # a group whose number another result uses too
    )
    masks = shared(test, SEEN, pa.array(["z"]))
    assert counted(masks) == {
        "same image": 1,
        "patient": 1,
        "lesion": 1,
        "near duplicate": 1,
        "leak group": 1,
        "all": 5,
    }
    assert masks["leak group"].tolist() == [True] * 5 + [False]


@given(st.data())
def test_what_shares_nothing_stays(data: st.DataObject) -> None:
    value = st.sampled_from([None, "1", "2", "3"])
    test, seen = (
        [
            (data.draw(value), data.draw(value), data.draw(value), str(i // 2))
            for i in range(data.draw(st.integers(1, 6)))
        ]
        for _ in range(2)
    )
    direct = [any(a is not None and a in {s[k] for s in seen} for k, a in enumerate(t[:3])) for t in test]
    expected = [any(d for d, other in zip(direct, test, strict=True) if other[3] == t[3]) for t in test]
    assert shared(rows(*test), rows(*seen))["leak group"].tolist() == expected


def test_near_duplicates_are_looked_for_across_and_not_within(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((64, 64)) for _ in range(6)]
    brighter = Image.fromarray(np.clip(np.asarray(pictures[1]).astype(int) + 3, 0, 255).astype(np.uint8))
    sets = {"test": {"t0": pictures[0], "t1": brighter, "t2": pictures[2], "t3": pictures[2].rotate(0)},
            "seen": {"s1": pictures[1], "s4": pictures[4], "s5": pictures[4]}, "more": {"s0": pictures[0]}}  # fmt: skip
    for name, images in sets.items():
        (tmp_path / name).mkdir()
        prints = [fingerprint(image) for image in images.values()]
        table = pa.table([list(images), pa.array([h for h, _ in prints], pa.uint64()), [t for _, t in prints]],
                         names=PRINT_COLUMNS)  # fmt: skip
        pq.write_table(table, tmp_path / name / "0.parquet")
    test, seen, more = (f"{tmp_path}/{name}" for name in sets)
    assert near_in(test, [seen]).to_pylist() == ["t1"]
    assert near_in(test, [seen, more]).to_pylist() == ["t0", "t1"]
    assert near_in(test, []).to_pylist() == []
