from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dermray.datasets.scales import BELOW, SCALES, messages, scales
from dermray.datasets.survey import survey_rows
from dermray.training.encode import _bucket
from tests.datasets.test_survey import survey

SIDES = st.integers(1, 700)


def test_images_count_at_the_largest_scale_that_their_shorter_side_fills(tmp_path: Path) -> None:
    sizes = {
        BELOW: [(127, 600), (1, 1)],
        "128": [(128, 128), (900, 255)],
        "256": [(256, 4000)],
        "512": [(512, 512)] * 3,
    }
    rows: list[dict[str, Any]] = [
        {"status": "ok", "width": width, "height": height} for of_one in sizes.values() for width, height in of_one
    ]
    rows += [{"status": "rejected", "width": 512, "height": 512}, {"status": "failed"}]
    facts = survey(tmp_path, [*rows, {"source": "b", "status": "ok", "width": 300, "height": 200}])
    assert facts["scales"] == {
        "b": {BELOW: 0, "128": 1, "256": 0, "512": 0},
        "clinic": {name: len(of_one) for name, of_one in sizes.items()},
    }
    assert messages(facts["scales"])[1] == (
        "clinic: shorter side below 128 px: 2, 128 px: 2, 256 px: 1, 512 px: 3 images"
    )
    assert survey_rows(str(tmp_path)) == facts, "rows in one file or in many"


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=20))
def test_training_puts_them_into_the_same_buckets(sizes: list[tuple[int, int]]) -> None:
    names = ["source", "status", "width", "height"]
    columns = [["a"] * len(sizes), ["ok"] * len(sizes), *map(list, zip(*sizes, strict=True))]
    found = scales(pa.RecordBatch.from_arrays([pa.array(column) for column in columns], names))["a"]
    trained = Counter(str(SCALES[bucket]) for bucket in _bucket(list(SCALES), np.array([min(size) for size in sizes])))
    trained["128"] -= found[BELOW]  # which training enlarges or drops
    assert {name: found[name] for name in map(str, SCALES)} == {name: trained[name] for name in map(str, SCALES)}
