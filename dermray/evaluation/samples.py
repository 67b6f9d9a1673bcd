"""Images that are held together: the first `max_images` of a kind by id, at one size."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from dermray.datasets.pixels import pixels
from dermray.evaluation import plots
from dermray.evaluation.extraction import where_real
from dermray.evaluation.groups import columns_of
from dermray.evaluation.settings import EvaluationConfig
from dermray.manifest import Result
from dermray.picked import pick
from dermray.records import count_rows
from dermray.row_files import RowFiles

OK = pc.field("status") == "ok"
ALWAYS = ["malignant", "skin_tone", "entity", "width"]
TRUTH = ["true_asymmetry", "true_border_irregular", "true_colours", "leak_group"]
SAID = ["said_asymmetry", "said_border_irregular", "said_colours", "said_skin_tone"]
ASKED = ["prompt", "prompt_sample_id", "nearest_sample_id"]


@dataclass(frozen=True)
class Sample:
    """Rows and their images."""

    table: pa.Table
    images: Tensor  # (N, 3, S, S) uint8

    def __len__(self) -> int:
        return len(self.table)


def real_sample(rows: Result, config: EvaluationConfig, size: int, which: Any = None) -> Sample:
    """Of the real images that are compared, or of those that a filter lets pass."""
    where = where_real(config.real) if which is None else which
    return _sample(rows.row_files(), where, TRUTH, config, size)


def require_real(rows: Result, config: EvaluationConfig) -> None:
    """Refuse an evaluation that has no real images to compare with, before anything is computed.

    Raises:
        ValueError: none.
    """
    if not count_rows(rows.row_files(), where_real(config.real)):
        which = {"held_out": " of the val or test split", "train": " of the train split", "all": ""}[config.real]
        raise ValueError(
            f"rows={config.rows}: no usable real image{which} to compare with (real={config.real}); ingest with "
            "fractions that hold some out, or give real=train or real=all"
        )


def training_sample(rows: Result, config: EvaluationConfig, size: int) -> Sample:
    """Of the real train split."""
    return _sample(rows.row_files(), where_real("train"), [], config, size)


def synthetic_sample(synthetic: Result, config: EvaluationConfig, size: int) -> Sample:
    """Of one generate result."""
    return _sample(synthetic.row_files(), OK, [*SAID, *ASKED], config, size)


def picked(source: RowFiles, where: Any, columns: list[str], config: EvaluationConfig) -> pa.Table:
    """Rows without their images.

    Raises:
        ValueError: none.
    """
    table = pick(source, [*ALWAYS, *columns_of(config.groups), *columns], where, config.max_images)
    if len(table) == 0:
        raise ValueError(f"{source}: no usable row to evaluate; look at the reasons in its manifest")
    return table


def shown(table: pa.Table, size: int) -> Tensor:
    """Their images, (N, 3, S, S) uint8."""
    return torch.from_numpy(pixels(table, size))


def _sample(source: RowFiles, where: Any, columns: list[str], config: EvaluationConfig, size: int) -> Sample:
    table = picked(source, where, columns, config)
    return Sample(table, shown(table, size))


def sample_grid(real: Sample, fake: Sample) -> bytes:
    """A PNG of two rows for each cell that was drawn: real above synthetic."""
    rows = []
    real_cells, fake_cells = _cells(real.table), _cells(fake.table)
    for cell in sorted(set(fake_cells)):
        for name, images, cells in (("real", real.images, real_cells), ("synthetic", fake.images, fake_cells)):
            chosen = [i for i, c in enumerate(cells) if c == cell]
            if chosen:
                rows.append((f"{cell}\n{name}", images[chosen]))
    return plots.grid(rows)


def _cells(table: pa.Table) -> list[str]:
    labels = {True: "malignant", False: "benign", None: "unknown"}
    pairs = zip(table["malignant"].to_pylist(), table["skin_tone"].to_pylist(), strict=True)
    return [f"{labels[label]}, {'tone ' + tone if tone else 'tone unknown'}" for label, tone in pairs]
