"""A captioning job under random kills loses no row, repeats none, and says how much it did twice."""

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray import manifest, storage
from dermray.captioning.resume import Commits, require_ids, roll_up, undo_half_committed
from dermray.captioning.vllm_engine import BATCHES_IN_FLIGHT
from dermray.records import read_columns
from tests.captioning.chaos import BLOCK, REPLICAS, ROWS
from tests.chaos import survived
from tests.faulty_s3 import faulty

KILLS = 20


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_kill_of_each_kind(tmp_path: Path) -> None:
    _bears_kills(tmp_path, 4, ROWS // 2)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_hundred_random_kills(tmp_path: Path) -> None:
    _bears_kills(tmp_path, 5 * KILLS, 5 * ROWS)


def _bears_kills(tmp_path: Path, number: int, rows: int) -> None:
    kills = survived("tests.captioning.chaos", tmp_path, number, rows)
    assert len(kills) == number and set(kills) == {"engine", "worker", "driver", "node"}

    result = manifest.read(f"{tmp_path}/caption")
    ids = read_columns(f"{result.data}/rows", ["sample_id"])["sample_id"].to_pylist()
    assert len(ids) == len(set(ids)) == rows == result.manifest.rows.ok
    told = result.manifest.metrics["captioning"]
    asked = sum(len(file.read_text().splitlines()) for file in (tmp_path / "record").iterdir())
    again = told["rows_asked_again"]  # noted before the engine is asked: a kill in between leaves a block too many
    assert asked - rows <= again <= asked - rows + 2 * max(1, number // KILLS) * BLOCK, (
        "the job's own account of work done twice"
    )
    killed_engines = number + kills.count("driver") * (REPLICAS - 1)
    assert 0 < again <= killed_engines * BATCHES_IN_FLIGHT * BLOCK, "no more than each killed engine had in flight"
    assert told["starts"] == 1 + kills.count("driver")


def test_a_commit_cut_in_two_loses_no_block(place: str) -> None:
    """The state that a kill between S3's copy and its delete leaves, through Ray's own recovery."""
    from ray.data.checkpoint.checkpoint_filter import _clean_pending_checkpoints_task as recovery

    def write(name: str, ids: list[int]) -> None:
        system, path = storage.filesystem(f"{place}/{name}")
        storage.make_directory(f"{place}/{name}".rpartition("/")[0])
        pq.write_table(pa.table({"sample_id": ids}), path, filesystem=system)

    def ids(name: str) -> set[int]:
        files = storage.list_files(f"{place}/{name}", ".parquet")
        return {
            i for file in files for i in pq.read_table(file.removeprefix("s3://"), filesystem=system)[0].to_pylist()
        }

    for block in range(40):
        mine = list(range(block * 8, block * 8 + 8))
        write(f"rows/x_{block:06}-0.parquet", mine)
        if block % 4 != 3:  # committed, or cut in two
            write(f"checkpoint/x_{block:06}.parquet", mine)
        if block % 4 >= 2:  # begun, or cut in two
            write(f"checkpoint/x_{block:06}.pending.parquet", mine)
    system, checkpoint = storage.filesystem(f"{place}/checkpoint")
    assert undo_half_committed(f"{place}/checkpoint") == 10
    recovery._function(checkpoint, system, storage.filesystem(f"{place}/rows")[1], system)
    assert ids("rows") == ids("checkpoint") == {i for i in range(320) if i // 8 % 4 < 2}
    assert undo_half_committed(f"{place}/checkpoint") == 0


def test_ids_of_earlier_runs_are_read_with_a_request_a_file(
    s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, path = storage.filesystem(f"{bucket}/checkpoint")
    for block in range(40):
        table = pa.table({"sample_id": [f"{block}-{row}" for row in range(3)]})
        pq.write_table(table, f"{path}/{block}.parquet", filesystem=system)
    pq.write_table(table, f"{path}/7.pending.parquet", filesystem=system)  # cut in two: to be done again
    pq.write_table(table, f"{path}/begun.pending.parquet", filesystem=system)
    with faulty(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert roll_up(f"{bucket}/checkpoint") == 39 * 3
        assert proxy.total <= 39 + 10
        assert roll_up(f"{bucket}/checkpoint") == 39 * 3
    left = storage.list_files(f"{bucket}/checkpoint")
    ids = [pq.read_table(f.removeprefix("s3://"), filesystem=system)[0].to_pylist() for f in left if "pending" not in f]
    assert [sorted(part) for part in ids] == [sorted(f"{b}-{row}" for b in range(40) if b != 7 for row in range(3))]
    assert sum("pending" in file for file in left) == 2, "of these Ray removes what was written"


def test_a_block_is_committed_in_two_requests_however_often(
    s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.data.checkpoint import CheckpointConfig
    from ray.data.checkpoint.checkpoint_writer import CheckpointWriter

    with faulty(s3_server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        system, path = storage.filesystem(f"{bucket}/checkpoint")
        system = pickle.loads(pickle.dumps(Commits(**system.options)))  # as it reaches the workers
        config = CheckpointConfig(id_column="sample_id", checkpoint_path=path, override_filesystem=system)
        writer = CheckpointWriter.create(config)
        begun = writer.write_pending_checkpoint(pa.array(["a", "b"]), "x_000001")
        assert begun is not None and proxy.total == 1
        writer.commit_checkpoint(begun)
        assert proxy.total == 3, proxy.requests
        assert [file.rpartition("/")[2] for file in storage.list_files(f"{bucket}/checkpoint")] == ["x_000001.parquet"]
        writer.commit_checkpoint(begun)  # again, its answer having been lost
    with pytest.raises(FileNotFoundError):
        system.move(f"{path}/none.pending.parquet", f"{path}/none.parquet")


def test_ids_in_two_files_count_once(tmp_path: Path) -> None:
    for name in "ab":
        pq.write_table(pa.table({"sample_id": ["x", "y"]}), tmp_path / f"{name}.parquet")
    assert roll_up(str(tmp_path)) == 2 == roll_up(str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


def test_sources_that_cannot_be_resumed_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"], "status": ["ok"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no column 'sample_id'"):
        require_ids(str(tmp_path), "sample_id")
    pq.write_table(pa.table({"sample_id": ["a", None, None], "status": ["ok", "ok", "failed"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="1 usable rows have no sample_id"):
        require_ids(str(tmp_path), "sample_id")
    pq.write_table(pa.table({"sample_id": ["a", None], "status": ["ok", "failed"]}), tmp_path / "a.parquet")
    require_ids(str(tmp_path), "sample_id")
