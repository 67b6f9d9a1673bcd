"""The plan in blocks: captions are indexed by several tasks, requests are written by others."""

import json
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dermray import storage
from dermray.generators.coverage import Coverage, TextCoverage, coverage, together
from dermray.manifest import Result
from dermray.row_files import RowFiles, row_files
from dermray.synthesis.cells import Cell, Cells, cells_of
from dermray.synthesis.deal import Deal
from dermray.synthesis.plan import Captions, Spoken, captions_of, indexed, requests, sizes_of
from dermray.synthesis.settings import SynthesisConfig
from dermray.synthesis.survey import Settled, Survey, settle
from dermray.training.run import load_readers

FILES_PER_SCAN = 32  # of captions, that a task reads for the index of them
REQUESTS_PER_BLOCK = 1 << 16  # of the plan: each block reads captions of up to so many files


@dataclass(frozen=True)
class Drawable:
    """What plans are made of: the generator, its captions and what these say of their rows' metadata."""

    generator: Result
    captioned: str | RowFiles
    metadata: tuple[str, ...]
    sizes: tuple[int, ...]  # px, of images

    def spoken(self, config: SynthesisConfig) -> Spoken:
        """What prompts are written from."""
        return self.metadata if config.prompts == "attributes" else None


def write_plan(source: Drawable, target: str, config: SynthesisConfig) -> tuple[Settled, Coverage]:
    """The plan's requests into files; what is planned, and what the generator reads of the prompts.

    Whatever the number of captions and requests, this process holds a few lines for each block of them.

    Raises:
        ValueError: see `settle`.
    """
    import ray.data

    storage.delete_tree(target)  # a plan that was cut short may have been cut into other blocks
    files, cells, spoken = row_files(source.captioned).files(), cells_of(config.plan), source.spoken(config)
    scan, merge = ray.remote(_scanned), ray.remote(num_returns=2)(_merged)
    index, survey = merge.remote(
        *(
            scan.remote(files[i : i + FILES_PER_SCAN], i, source.generator, cells, spoken)
            for i in range(0, len(files), FILES_PER_SCAN)
        )
    )
    settled = settle(config, ray.get(survey), source.metadata)
    requested = len(settled.deal)
    numbers = ray.data.range(requested, override_num_blocks=math.ceil(requested / REQUESTS_PER_BLOCK))
    write = partial(_write_requests, index, files, target, source, settled.deal, config)
    said = numbers.map_batches(write, batch_format="numpy", batch_size=None).take_all()
    return settled, together(map(_coverage_of, said))


def planned_here(source: Drawable, config: SynthesisConfig, most: int) -> tuple[Settled, pa.Table]:
    """The plan and its first `most` requests, in this process; nothing is written."""
    files, cells, spoken = row_files(source.captioned).files(), cells_of(config.plan), source.spoken(config)
    captions = indexed([_scanned(files, 0, source.generator, cells, spoken)])
    settled = settle(config, Survey.of(captions), source.metadata)
    numbers = range(min(most, len(settled.deal)))
    return settled, _requests(captions.cells, files, source, settled.deal, config, numbers)


def _scanned(files: list[str], first: int, generator: Result, cells: Cells, spoken: Spoken) -> Captions:
    return captions_of(files, first, load_readers(generator), cells, spoken)


def _merged(*parts: Captions) -> tuple[dict[Cell, np.ndarray], Survey]:
    """The index, which stays in the object store, and what the driver is told of it."""
    whole = indexed(parts)
    return whole.cells, Survey.of(whole)


def _write_requests(
    index: Any,
    files: list[str],
    target: str,
    source: Drawable,
    deal: Deal,
    config: SynthesisConfig,
    block: dict[str, np.ndarray],
) -> dict[str, list[str]]:
    """Requests with the numbers of a block into a file; what the generator reads of their prompts, as JSON."""
    import ray

    first, last = int(block["id"][0]), int(block["id"][-1])
    made, sink = _requests(ray.get(index), files, source, deal, config, range(first, last + 1)), pa.BufferOutputStream()
    # Images of one size beside each other: blocks are cut out of this file, and a forward pass has one size.
    pq.write_table(made.sort_by([("image_size", "ascending"), ("plan_id", "ascending")]), sink)
    storage.write_bytes(storage.join(target, f"{first:010d}.parquet"), sink.getvalue().to_pybytes())
    covered = coverage(load_readers(source.generator), made["prompt"].to_pylist())
    return {"text": [json.dumps({name: part.model_dump() for name, part in covered.items()})]}


def _requests(
    index: dict[Cell, np.ndarray],
    files: list[str],
    source: Drawable,
    deal: Deal,
    config: SynthesisConfig,
    numbers: range,
) -> pa.Table:
    made = requests(index, files, deal, numbers, config.seed, source.spoken(config))
    return made.append_column("image_size", pa.array(sizes_of(numbers, deal, source.sizes)))


def _coverage_of(said: dict[str, Any]) -> Coverage:
    return {name: TextCoverage.model_validate(part) for name, part in json.loads(said["text"]).items()}
