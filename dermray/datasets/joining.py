"""Rows joined with the leak group, split and reason that grouping gave them, file by file, by any number of tasks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from dermray import s3, storage
from dermray.datasets.assignment import Assignment
from dermray.datasets.blocks import MOST_TASKS, Block, all_blocks, digest, remove_others, rows_in, write_block
from dermray.page_index import write_options
from dermray.records import IMAGES


def write_joined(
    raw: str, blocks: list[Block], target: str, assignment: Any, version: str, rows_per_block: int
) -> list[Block]:
    """Rows joined with their assignment, which lies in the object store. Goes on after files that are there.

    Args:
        version: the assignment's digest: files that were joined with another are none of these, and are removed.
    """
    import ray.data

    files = [{"name": digest(version, names), "blocks": names} for names in _together(blocks, rows_per_block)]
    places = ray.data.from_items(files, override_num_blocks=min(len(files), MOST_TASKS))
    made = all_blocks(places, _Joining(raw, target, assignment))
    remove_others(target, made)
    return made


def _together(blocks: list[Block], least: int) -> Iterator[list[str]]:
    """Names of blocks that have so many rows together, and of those that are left."""
    names, rows = list[str](), 0
    for block in blocks:
        names.append(block.name)
        rows += block.rows
        if rows >= least:
            yield names
            names, rows = [], 0
    if names:
        yield names


@dataclass(frozen=True)
class _Joining:
    """Names of blocks to files of rows."""

    raw: str
    target: str
    assignment: Any  # in the object store

    def __call__(self, files: pa.Table) -> Iterator[pa.Table]:
        import ray

        assignment: Assignment = ray.get(self.assignment)  # no copy: one lies on each node
        for file in files.to_pylist():
            uri = storage.join(self.target, f"{file['name']}.parquet")
            number = rows_in(uri)
            if number is None:
                parts = (part for name in file["blocks"] for part in _parts(storage.join(self.raw, f"{name}.parquet")))
                joined = (assignment.join(part).select(IMAGES.names).cast(IMAGES) for part in parts)
                number = write_block(uri, joined, IMAGES, **write_options(IMAGES))
            yield pa.table({"name": [file["name"]], "rows": [number]})


def _parts(file: str) -> Iterator[pa.Table]:
    """A block's rows as they were handed on when they were looked at."""
    with storage.open_parquet(file, pre_buffer=True) as parquet:
        for group in range(parquet.num_row_groups):
            yield s3.again(lambda: parquet.read_row_group(group, IMAGES.names, use_threads=False))  # noqa: B023
