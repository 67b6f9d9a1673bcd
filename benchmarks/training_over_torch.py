"""Steady samples/s of our Ray Train loop, one worker, over a bare torch loop: same model, batch, optimiser, one thread.

    python -m benchmarks.training_over_torch runs/quickstart

The bare loop has pixels and captions in memory and does forward, backward, clipping and AdamW: no EMA, no
checkpoint, no data order. Both run one after the other, twice, in the order ours, bare, bare, ours. A machine whose
speed moves between processes blurs that, so a step of our loop (data order, EMA, log of losses, no Ray) and one of the
bare loop are also timed in turns of ten in one process.
"""

import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

from dermray import manifest
from dermray.config import load, preset
from dermray.generators.base import family
from dermray.train_loop import LoopConfig, State
from dermray.training.batches import Source, buckets
from dermray.training.read_batch import turn
from dermray.training.run import TrainConfig, run
from dermray.training.task import GeneratorTask

STEPS, SKIPPED, BATCH, LEARNING_RATE = 120, 20, 32, 2e-3


def bare(train_result: str) -> float:
    """Samples/s of a plain loop in this process."""
    torch.set_num_threads(1)
    result = manifest.read(train_result, "train")
    [images] = buckets(f"{result.data}/encoded")
    everything = np.arange(len(images))
    pixels, captions = images.pixels(everything), images.captions(everything)
    cls = family(result.manifest.config["family"])
    model = cls.from_captions(cls.Config(**result.manifest.config["model"]), captions)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    started = 0.0
    for step in range(STEPS):
        if step == SKIPPED:
            started = time.perf_counter()
        index = torch.randint(len(pixels), (BATCH,))
        samples = model.encode(turn(pixels[index]), [captions[i] for i in index])
        loss = model(model.collate(samples))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return (STEPS - SKIPPED) * BATCH / (time.perf_counter() - started)


def ours(quickstart: str) -> float:
    """Samples/s that the train stage reports, its start left out."""
    with tempfile.TemporaryDirectory() as directory:
        overrides = [f"output={directory}/train", f"rows={quickstart}/caption", "loop.workers=1", f"loop.steps={STEPS}",
                     f"loop.batch_size={BATCH}", "loop.checkpoint_every=1000",
                     "loop.optimizer=adamw", f"loop.learning_rate={LEARNING_RATE}"]  # fmt: skip  # as the bare loop has
        result = run(load(TrainConfig, preset("train/pixel_dermdit_nano"), overrides))
        return float(result.manifest.metrics["training"]["samples_per_second"])


def in_turns(quickstart: str) -> float:
    """Our step over the bare one, in samples/s, ten of each in turn."""
    torch.set_num_threads(1)
    result = manifest.read(f"{quickstart}/train", "train")
    settings, loop = result.manifest.config, LoopConfig(steps=1000, batch_size=BATCH)
    source = Source(f"{result.data}/encoded")
    task = GeneratorTask(settings["family"], settings["model"], source, loop.model_dump(), True)
    state, model = State(task.build(), loop), task.build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    spent = {"ours": 0.0, "bare": 0.0}
    for turn_number in range(8):
        started = time.perf_counter()
        for _ in range(10):
            state.advance(task, state.module, 0, 1)
        between = time.perf_counter()
        for step in range(10):
            loss = model(*task.arguments(model, step, 0, 1, 0))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        if turn_number:  # the first turn warms up
            spent["ours"] += between - started
            spent["bare"] += time.perf_counter() - between
    return spent["bare"] / spent["ours"]


def main(quickstart: str) -> None:
    """Print both rates and their ratio."""
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    for name in ("ours", "bare", "bare", "ours"):
        command = [sys.executable, "-m", "benchmarks.training_over_torch", quickstart, name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rates[name].append(float(done.stdout.split()[-1]))
    mean = {name: sum(values) / len(values) for name, values in rates.items()}
    shown = {name: [round(v, 1) for v in values] for name, values in rates.items()}
    print(f"samples/s, two runs each: {shown}\nratio ours / bare torch loop: {mean['ours'] / mean['bare']:.3f}")
    print(f"ratio of steps in turns, one process: {in_turns(quickstart):.3f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(ours(sys.argv[1]) if sys.argv[2] == "ours" else bare(f"{sys.argv[1]}/train"))
    else:
        main(sys.argv[1])
