"""What the LoRA benchmarks share: seconds from captioned images to a finished adapter, of several ways to train it."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH, RANK, RATE = 16, 8, 1e-3
SHORT = 40  # steps of the trainings that are start and end and little else
Command = Callable[[str, int], list[str]]  # of an empty directory for the adapter, and a number of steps


def train_rows(quickstart: str) -> list[dict[str, Any]]:
    """The train split of a finished quickstart: sample_id, image (bytes), caption."""
    import pyarrow.compute as pc  # here and below: a peer's process, which may import this file, needs none of it

    from dermray import manifest
    from dermray.records import read_columns

    rows = manifest.read(f"{quickstart}/caption", "caption").data + "/rows"
    usable = (pc.field("status") == "ok") & (pc.field("split") == "train")
    found: list[dict[str, Any]] = read_columns(rows, ["sample_id", "image", "caption"], usable).to_pylist()
    return found


def ours(preset: str, quickstart: str, base: str, size: int, workers: int, *more: str) -> Command:
    """`dermray train` on two CPU cores; its start and Ray's are part of the time."""
    settings = [
        f"rows={quickstart}/caption", f"model.base={base}", f"model.image_size={size}", f"model.rank={RANK}",
        f"model.alpha={RANK}", "flips=false", f"loop.workers={workers}", f"loop.cpus_per_worker={2 // workers}",
        f"loop.batch_size={BATCH}", f"loop.learning_rate={RATE}", "loop.checkpoint_every=100000", *more,
    ]  # fmt: skip
    start = [sys.executable, "-m", "dermray.cli", "train", "--config", f"train/{preset}"]
    return lambda target, steps: [*start, f"output={target}", f"loop.steps={steps}", *settings]


def race(ways: dict[str, Command], steps: int) -> dict[str, dict[int, float]]:
    """Seconds of a short training and of one of `steps`, by way; printed as they are found.

    Raises:
        RuntimeError: with what a command printed, where it left no adapter.
    """
    spent: dict[str, dict[int, float]] = {}
    for name, command in ways.items():
        spent[name] = {n: _seconds(command, n) for n in (SHORT, steps)}
        told = ", ".join(f"{n} steps {seconds:.1f} s" for n, seconds in spent[name].items())
        each = (spent[name][steps] - spent[name][SHORT]) / (steps - SHORT)
        print(f"{name}: {told}: {1000 * each:.1f} ms a step", flush=True)
    return spent


def ratio(peer: str, others: list[dict[int, float]], mine: list[dict[int, float]]) -> None:
    """Print how many times our best the peer's best takes, short and long."""
    for n in others[0]:
        best = [min(way[n] for way in ways) for ways in (others, mine)]
        print(f"{peer} / ours: {best[0] / best[1]:.2f} at {n} steps", flush=True)


def _seconds(command: Command, steps: int) -> float:
    with tempfile.TemporaryDirectory() as target:
        started = time.perf_counter()
        done = subprocess.run(command(target, steps), capture_output=True, text=True, check=False)
        taken = time.perf_counter() - started
        if done.returncode or not list(Path(target).rglob("pytorch_lora_weights.safetensors")):
            raise RuntimeError(f"no adapter: {done.stdout[-2000:]}{done.stderr[-4000:]}")
        return taken
