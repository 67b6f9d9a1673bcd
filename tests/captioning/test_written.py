"""What a resumed job leaves out, through Ray Data's own checkpoints."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray.captioning.resume import resumable
from dermray.exactly_once import sorted_hashes

NAMES = [hashlib.sha256(bytes([i])).hexdigest() for i in range(200)]


@pytest.mark.slow
def test_a_resumed_job_does_the_rows_that_are_left_and_removes_blocks_that_were_not_committed(
    local_ray: None, tmp_path: Path
) -> None:
    import ray.data

    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"sample_id": NAMES}), tmp_path / "in" / "a.parquet")
    (tmp_path / "checkpoint").mkdir()
    pq.write_table(pa.table({"sample_id": NAMES[:80]}), tmp_path / "checkpoint" / "x_0.parquet")
    pq.write_table(pa.table({"sample_id": NAMES[80:]}), tmp_path / "checkpoint" / "x_1.pending.parquet")
    (tmp_path / "out").mkdir()
    pq.write_table(pa.table({"sample_id": NAMES[80:]}), tmp_path / "out" / "x_1-0.parquet")
    for _ in range(2):  # the second one has nothing to do
        with resumable("sample_id", str(tmp_path / "checkpoint")):
            rows = ray.data.read_parquet(str(tmp_path / "in")).repartition(target_num_rows_per_block=30)
            rows.write_parquet(str(tmp_path / "out"), mode="append")
        assert sorted(pq.read_table(tmp_path / "out")["sample_id"].to_pylist()) == sorted(NAMES[80:])
        noted = pq.read_table(tmp_path / "checkpoint")["sample_id"].to_pylist()
        assert len(noted) == 200 and set(noted) == set(NAMES)


def test_ids_are_told_apart_by_their_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    from dermray.captioning import written

    numbers = sorted_hashes([pa.array(NAMES[:99:2]), pa.array(NAMES[100::2])])
    assert numbers.dtype == "uint64" and len(set(numbers.tolist())) == 100
    monkeypatch.setattr("ray.get", lambda of: of)
    keep = written.NotWritten(type("Config", (), {"id_column": "sample_id"}), numbers)
    block = pa.table({"sample_id": pa.chunked_array([NAMES[:7], NAMES[7:]]), "n": range(200)})
    assert keep.filter_rows_for_block(block)["n"].to_pylist() == list(range(1, 200, 2))
    assert keep.filter_rows_for_block(block[:0]).num_rows == 0
