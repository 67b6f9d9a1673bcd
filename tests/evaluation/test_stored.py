from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dermray.evaluation.extraction import PARTS, key, part
from tests.evaluation.made_up import gaussian, stored


@given(rows=st.integers(1, 60), per_file=st.integers(1, 20), half=st.sampled_from([None, 0, 1]), data=st.data())
def test_the_first_by_key_are_those_of_a_sort(rows: int, per_file: int, half: int | None, data: st.DataObject) -> None:
    features = gaussian(rows, 2, rows)
    ids = [f"image {i}" for i in range(rows)]
    there = [i for i in range(rows) if half is None or part(ids[i]) // PARTS == half]
    by_key = sorted(there, key=lambda i: key(ids[i]))
    with TemporaryDirectory() as folder:
        images = stored(Path(folder) / "rows", features, rows_per_file=per_file)
        assert images.count(half) == len(there)
        if there:
            count = data.draw(st.integers(1, len(there)))
            assert images.limit(count, half) == key(ids[by_key[count - 1]])
            np.testing.assert_array_equal(images.least(count, half), features[by_key[:count]])


def test_rows_that_failed_are_left_out(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = stored(tmp_path / "rows", gaussian(20, 2, 0))
    [file] = (tmp_path / "rows").iterdir()
    table = pq.read_table(file)
    pq.write_table(table.set_column(0, "status", pa.array(["failed"] * 5 + ["ok"] * 15)), file)
    assert images.count() == 15
