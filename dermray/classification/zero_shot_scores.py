"""Zero-shot classifiers of a sweep: each scores every test set once, for it has neither training images nor seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from dermray.classification import trial_files, zero_shot
from dermray.classification.grid import key_of
from dermray.classification.held_out import Scored
from dermray.classification.pixel_store import PixelStore, fill
from dermray.classification.pools import Pools
from dermray.classification.prepare import Prepared
from dermray.classification.targets import Target
from dermray.classification.training import probabilities
from dermray.classification.tuning_settings import TuneSettings
from dermray.classification.verdict import ZERO_SHOT
from dermray.classification.zero_shot import ZeroShot
from dermray.config import decisive
from dermray.progress import busy, watched


@dataclass(frozen=True)
class Baseline:
    """One of them, known by all that its scores depend on, as trials are."""

    key: str
    given: ZeroShot
    size: int  # px
    revision: str | None

    def named(self) -> dict[str, Any]:
        """For a manifest."""
        return {"name": self.given.name, "model": self.given.model, "revision": self.revision, "key": self.key}

    def scored(self, values: np.ndarray) -> Scored:
        """Its scores (N, C) of a test set. Its threshold is 0.5: no label chose another one."""
        return Scored(f"{ZERO_SHOT} {self.given.name}", ZERO_SHOT, 0, self.given.name, 0, values)


def baselines(models: Sequence[tuple[ZeroShot, int, str | None]], shared: Mapping[str, Any]) -> list[Baseline]:
    """Args: models: each with its images' size in px and its revision. shared: see `grid`."""
    return [
        Baseline(key_of(decisive(given), revision, shared), given, size, revision) for given, size, revision in models
    ]


def score(chosen: Sequence[Baseline], prepared: Prepared, store: str, trials: str, settings: TuneSettings) -> None:
    """All that is not finished, beside the trials' results.

    Raises:
        FileNotFoundError, ValueError: see `zero_shot.load`.
    """
    done = trial_files.finished(trials)
    missing = [baseline for baseline in chosen if baseline.key not in done]
    if not missing:
        return
    import ray

    ids = [sample_id for name in prepared.pools.tests for sample_id in Pools.read(prepared.pools.test(name))[0]]
    images = prepared.images.filter(pc.is_in(prepared.images["sample_id"], pa.array(ids)))
    for size in sorted({baseline.size for baseline in missing}):
        fill(store, size, images)
    task = ray.remote(num_cpus=settings.cpus_per_trial, num_gpus=settings.gpus_per_trial)(_score)
    with watched(busy("zero-shot scores")):
        ray.get([task.remote(each, prepared.target, prepared.pools, store, trials) for each in missing])


def _score(baseline: Baseline, target: Target, pools: Pools, pixels: str, trials: str) -> None:
    """To be run in a task."""
    model = zero_shot.load(baseline.given, target, baseline.revision)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    store = PixelStore.open(pixels, baseline.size)
    scores = {name: probabilities(model, store, store.rows(Pools.read(pools.test(name))[0])) for name in pools.tests}
    trial_files.write(trials, baseline.key, baseline.named(), scores, [])
