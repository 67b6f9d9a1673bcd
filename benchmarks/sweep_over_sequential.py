"""Wall time of a sweep of 24 short trials over a loop that trains them one after the other and decodes for each.

    python -m benchmarks.sweep_over_sequential [../shared/data] [--steps 60]

Both train and test the same classifiers (two nano backbones, six arms, two seeds) on the same photographs: HAM10000's
and the ISIC Archive's, and drawings in the place of synthetic ones. The loop is what a script does: it decodes and
resizes the images of its trial, trains with as many threads as there are cores, tests, goes on. The sweep decodes each
image once and runs two trials at a time, one thread each. Its time holds all of it, from reading rows to the page, but
for the start of Ray, which is told apart.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from dermray import manifest
from dermray.classification.arms import choose
from dermray.classification.batches import InMemory
from dermray.classification.pools import read_pool
from dermray.classification.run import run
from dermray.classification.sweep_settings import SweepConfig
from dermray.classification.targets import Target
from dermray.classification.training import probabilities, train
from dermray.config import validate
from dermray.datasets import ingest
from dermray.datasets.pixels import pixels
from dermray.manifest import Result

SIZE = 64  # px
CONFIG = {
    "real_images": 60, "seeds": 2, "image_size": SIZE, "max_test_images": 150, "max_validation_images": 50,
    "resamples": 200,
}  # fmt: skip
OK = pc.field("status") == "ok"
Scores = dict[tuple[str, str, int], Any]  # (N, 2) of the test images, by arm, backbone and seed


def rows_of(place: str, data: str) -> tuple[Result, Result]:
    """Photographs, and drawings."""
    photographs = [
        {"source": "ham10000", "path": f"{data}/ham10000_nc_subset"},
        {"source": "isic_archive", "path": f"{data}/isic_uda1"},
    ]
    drawings = [{"source": "phantom", "count": 200, "size": 128, "broken": 0.0, "duplicates": 0.0}]
    found = []
    for name, sources in (("photographs", photographs), ("drawings", drawings)):
        config = {"output": f"{place}/{name}", "sources": sources}
        found.append(ingest.run(validate(ingest.IngestConfig, config)))
    return found[0], found[1]


def one_after_the_other(config: SweepConfig, photographs: Result, drawings: Result) -> Scores:
    """Scores of the test images by arm, backbone and seed."""
    target, real = Target.of("malignant"), pc.field("origin") == "real"
    split = pc.field("split")
    training, _ = read_pool(photographs, OK & real & (split == "train"), target)
    tested, _ = read_pool(photographs, OK & real & (split == "test"), target, config.max_test_images)
    validated, _ = read_pool(photographs, OK & real & (split == "val"), target, config.max_validation_images)
    drawn, _ = read_pool(drawings, OK, target)
    real_labels, drawn_labels = (table["label"].to_numpy() for table in (training, drawn))
    scores = {}
    for seed in range(config.seeds):
        for backbone in config.backbones:
            for arm in config.all_arms:
                chosen = choose(arm, real_labels, drawn_labels, config.real_counts[0], seed)
                parts = [(training, chosen.real), (drawn, chosen.synthetic)]
                images = [pixels(table.take(pa.array(rows)), SIZE) for table, rows in parts if len(rows)]
                both = InMemory(np.concatenate(images))
                every = np.arange(len(chosen.labels))
                model = train(both, every, chosen.labels, None, backbone, config.training, 1, seed).model
                for table in (validated, tested):
                    held_out = InMemory(pixels(table, SIZE))
                    found = probabilities(model, held_out, np.arange(len(table)))
                scores[arm.name, backbone.name, seed] = found
    return scores


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default="../shared/data")
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        from dermray.cluster import connect

        started = time.perf_counter()
        ray = connect()
        start_of_ray = time.perf_counter() - started
        photographs, drawings = rows_of(place, str(Path(arguments.data).resolve()))
        given = CONFIG | {
            "output": f"{place}/sweep", "rows": photographs.uri, "training": {"steps": arguments.steps},
            "synthetic": [{"name": "drawings", "result": drawings.uri, "trained_on": "unknown"}],
            "tune": {"concurrent": cores},
        }  # fmt: skip
        config = validate(SweepConfig, given)
        started = time.perf_counter()
        swept = run(config)
        sweep = time.perf_counter() - started
        print(f"sweep: {sweep:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)  # at once: the loop takes longer
        ray.shutdown()
        torch.set_num_threads(cores)
        started = time.perf_counter()
        scores = one_after_the_other(config, photographs, drawings)
        loop = time.perf_counter() - started
        torch.set_num_threads(1)  # as a trial has: threads share out sums in other ways, and training amplifies that
        again = config.model_copy(update={"backbones": config.backbones[:1]})
        alike = one_after_the_other(again, photographs, drawings)
        _report(swept, scores, alike, sweep, loop, start_of_ray, cores)


def _report(swept: Result, scores: Scores, alike: Scores, sweep: float, loop: float, start: float, cores: int) -> None:
    from dermray.classification import trial_files

    trials = swept.manifest.metrics["trials"]
    assert len(trials) == len(scores) == 24
    apart = max(
        float(np.abs(trial_files.scores_of(f"{swept.data}/trials", t["key"])["test"] - alike[key]).max())
        for t in trials
        if (key := (t["arm"], t["backbone"], t["seed"])) in alike
    )
    print(f"{manifest.library_versions()['torch']=}, {cores} cores, load {os.getloadavg()[0]:.1f}")
    print(f"sweep of 24 trials {sweep:.1f} s, loop {loop:.1f} s: ratio {sweep / loop:.2f}")
    print(f"with the start of Ray ({start:.1f} s): {(sweep + start) / loop:.2f}")
    print(f"largest difference between a score of the sweep and of the loop with one thread: {apart:.2g}")


if __name__ == "__main__":
    main()
