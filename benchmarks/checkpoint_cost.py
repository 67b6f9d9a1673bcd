"""What checkpoints cost a training, and how long a killed one takes to go on.

    python -m benchmarks.checkpoint_cost [MILLIONS OF PARAMETERS]

A stack of linear layers with EMA and AdamW, one worker, local disk. Stall: how much longer the pause between two steps
is when a checkpoint lies between them, over what torch.save of the same tensors to a file takes. Resume: seconds from
kill -9 of the worker, or of the whole job with a new start at once, to the first step that had not been made before,
over the seconds that the first start took to its first step.
"""

import itertools
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dermray.train_loop import LoopConfig, State, fit
from dermray.train_loop.checkpoint import save

EVERY, STEPS, WIDTH = 10, 60, 1024
TRAP_AT, KILLED_AT = 35, 25


@dataclass
class Clocked:
    """Notes when each step begins. Whoever removes the file `trap` dies of it."""

    directory: str
    millions: int
    unused_parameters: bool = False

    def build(self) -> nn.Module:
        """Layers of a million weights each."""
        return Stack(self.millions)

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        """A small batch, so that a step is short beside a checkpoint."""
        trap = Path(self.directory, "trap")
        with Path(self.directory, "clock").open("a") as clock:
            if step == TRAP_AT and trap.exists():
                trap.unlink()
                clock.write(f"-1 {time.time()} {os.getpid()}\n")
                clock.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            clock.write(f"{step} {time.time()} {os.getpid()}\n")
        time.sleep(0.1)
        return (torch.randn(4, WIDTH),)

    def describe(self, step: int, rank: int, workers: int, part: int) -> list[str]:
        """Noise has no names."""
        return []

    def validation_loss(self, module: nn.Module) -> float | None:
        """None is measured."""
        return None

    def words(self, module: nn.Module) -> dict[str, str]:
        """It says nothing."""
        return {}

    def scores(self, pictures: dict[str, Tensor]) -> dict[str, float]:
        """None."""
        return {}

    def pictures(self, module: nn.Module) -> dict[str, Tensor]:
        """There are none."""
        return {}

    def save(self, module: nn.Module, directory: Path) -> None:
        """The weights."""
        directory.mkdir(parents=True)
        torch.save(module.state_dict(), directory / "weights.pt")


class Stack(nn.Module):
    """Linear layers."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        """A loss."""
        loss: Tensor = self.layers(x).square().mean()
        return loss


def train(directory: str, millions: int) -> None:
    """One training."""
    fit(Clocked(directory, millions), loop(), f"{directory}/run")


def loop() -> LoopConfig:
    """How."""
    return LoopConfig(steps=STEPS, batch_size=1, checkpoint_every=EVERY, log_every=EVERY)


def clock(directory: str, but: int = 0) -> list[tuple[int, float]]:
    """(step, time) in order of time, without those of process `but`; step -1 is a death."""
    path = Path(directory, "clock")
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(int(step), float(at)) for step, at, process in lines if int(process) != but]


def stall(noted: list[tuple[int, float]]) -> float:
    """Median seconds that a checkpoint adds to the pause before the next step."""
    gaps = {b: t - s for (a, s), (b, t) in itertools.pairwise(noted) if b == a + 1}
    with_checkpoint = [gap for step, gap in gaps.items() if step % EVERY == 0]
    without = [gap for step, gap in gaps.items() if step % EVERY and step > EVERY]
    return statistics.median(with_checkpoint) - statistics.median(without)


def plain_save(millions: int, directory: str) -> tuple[float, float]:
    """Median seconds of our own checkpoint of the same tensors to a file, without Ray, and its size in MB."""
    state = State(Stack(millions), loop())
    for weight in state.trained:
        weight.grad = torch.zeros_like(weight)
    state.optimizer.step()
    seconds = []
    for number in range(5):
        target = Path(directory, f"plain{number}")
        target.mkdir()
        started = time.perf_counter()
        save(state, target, 0)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), (target / "state.pt").stat().st_size / 1e6


def killed_job(directory: str, millions: int) -> float:
    """Seconds from kill -9 of everything, with a new start at once, to the first step not made before."""
    command = [sys.executable, "-m", "benchmarks.checkpoint_cost", str(millions), directory]
    first = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not any(step >= KILLED_AT for step, _ in clock(directory)):
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    killed, reached = time.time(), max(step for step, _ in clock(directory))
    dying = int(Path(directory, "clock").read_text().split()[-1])  # trains on until it notices that its raylet is gone
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return next(at for step, at in clock(directory, but=dying) if step > reached) - killed


def main(millions: int) -> None:
    """Print all of it."""
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as other:
        Path(directory, "trap").touch()
        started = time.time()
        train(directory, millions)
        noted = clock(directory)
        start = noted[0][1] - started
        death = next(at for step, at in noted if step == -1)
        worker = next(at for step, at in noted if step == TRAP_AT and at > death) - death
        plain, size = plain_save(millions, directory)
        ours = stall(noted)
        print(
            f"checkpoint of {size:.0f} MB: stall {ours:.2f} s, the file alone {plain:.2f} s: ratio {ours / plain:.2f}"
        )
        print(f"start to first step: {start:.1f} s")
        print(f"worker killed to first new step: {worker:.1f} s: ratio to a start {worker / start:.2f}")
        job = killed_job(other, millions)
        print(f"job killed and started again to first new step: {job:.1f} s: ratio to a start {job / start:.2f}")


if __name__ == "__main__":
    size_in_millions = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    if len(sys.argv) > 2:
        train(sys.argv[2], size_in_millions)
    else:
        main(size_in_millions)
