"""Joining in tasks: the assignment is not copied by any of them, and blocks become files of a sane size."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray.datasets import joining
from dermray.datasets.assignment import NAME, NONE, Assignment
from dermray.datasets.blocks import Block, write_block
from dermray.datasets.looking import RAW
from dermray.exactly_once import hashes, joined

ROWS = 5000


def table(first: int, rows: int) -> pa.Table:
    given = [
        {"source": "s", "source_id": str(i), "status": "ok", "image": b"x" * 9} for i in range(first, first + rows)
    ]
    return pa.Table.from_pylist(given, schema=RAW)


def assignment() -> Assignment:
    names = np.sort(hashes(joined(table(0, ROWS), NAME)))
    groups, reasons = np.arange(ROWS, dtype=np.int32), np.full(ROWS, NONE, np.int16)
    return Assignment(names, groups, np.zeros(ROWS, np.int8), reasons, ("a",), 0)


def own_bytes(shared: Any) -> tuple[int, int]:
    """Bytes of the arrays of an assignment in the object store that this process has for itself; and all."""
    import ray

    found = ray.get(shared[0])
    arrays = [value for value in vars(found).values() if isinstance(value, np.ndarray)]
    assert all(not array.flags.writeable for array in arrays), "others see them too"
    return sum(array.nbytes for array in arrays if array.flags.owndata), sum(array.nbytes for array in arrays)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_tasks_share_one_assignment() -> None:
    import ray

    shared = ray.remote(assignment).remote()
    assert ray.get(ray.remote(own_bytes).remote([shared])) == (0, 15 * ROWS)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_small_blocks_are_joined_together_and_each_row_once(tmp_path: Path) -> None:
    import ray

    sizes, blocks, first = [3, 40, 0, 100, 7, 1500, 2], list[Block](), 0
    for number, rows in enumerate(sizes):
        write_block(f"{tmp_path}/raw/{number}.parquet", [table(first, rows)], RAW)
        blocks.append(Block(str(number), rows))
        first += rows
    given = ray.put(assignment())
    made = joining.write_joined(f"{tmp_path}/raw", blocks, f"{tmp_path}/rows", given, "v", 100)
    files = {file.stem: pq.read_table(file) for file in (tmp_path / "rows").iterdir()}
    assert sorted(block.rows for block in made) == sorted(map(len, files.values())) == [2, 143, 1507]
    assert dict(made) == {name: len(rows) for name, rows in files.items()}
    rows = pa.concat_tables(files.values())
    groups = dict(zip(assignment().names.tolist(), assignment().groups.tolist(), strict=True))
    expected = {str(i): f"g{groups[int(hashes(joined(table(i, 1), NAME))[0])]}" for i in range(0, first, 97)}
    found = dict(zip(rows["source_id"].to_pylist(), rows["leak_group"].to_pylist(), strict=True))
    assert len(found) == len(rows) == first and {name: found[name] for name in expected} == expected
    again = joining.write_joined(f"{tmp_path}/raw", blocks, f"{tmp_path}/rows", given, "another", 100)
    assert {file.stem for file in (tmp_path / "rows").iterdir()} == {block.name for block in again}
    assert not {block.name for block in made} & {block.name for block in again}, "of another assignment none is kept"
