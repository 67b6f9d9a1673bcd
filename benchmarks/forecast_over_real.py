"""What `dermray train --dry-run` says of the nano models over what they take on this CPU.

    python -m benchmarks.forecast_over_real

Every family's nano preset, by one worker, also in bf16, in accumulated parts, with activations computed again and with
encoders in the step. Operations over torch's counter in a real step. Memory over the most that torch's CPU allocator
had given out at a time since before the model was built, by torch's profiler. 1 is exact.
"""

import datetime
import gc
import platform
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from dermray.config import load, preset
from dermray.generators.base import Generator, Sample, family
from dermray.train_loop import LoopConfig, State
from dermray.train_loop.settings import images_of
from dermray.training.forecast import ATTENTION, of_captions
from dermray.training.settings import TrainConfig, check

CAPTIONS = [
    "benign, skin tone A: round lesion, red.",
    "malignant, skin tone C: an asymmetric lesion, irregular, black.",
]
PRESETS = ("flux_lora", "stable_diffusion_lora", "stable_diffusion", "latent_diffusion", "dermdit", "glide",
           "pixel_dermdit")  # fmt: skip
WAYS: dict[str, list[str]] = {
    "as it is": [],
    "bf16": ["loop.precision=bf16"],
    "4 parts": ["loop.accumulate=4"],
    "recomputed": ["loop.gradient_checkpointing=true"],
    "encoders in the step": ["encode_ahead=false"],
}


@dataclass
class Empty:
    """A task of black images, encoded once or in every step."""

    loop: LoopConfig
    samples: list[Sample]  # none: encoded in every step
    unused_parameters: bool = False

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        """As training makes them."""
        assert isinstance(module, Generator)
        count = images_of(self.loop, rank, workers, part)
        samples = [{n: v.clone() for n, v in sample.items()} for sample in self.samples[:count]]
        return (module.collate(samples or encoded(module, count)),)


def encoded(module: Generator, count: int) -> list[Sample]:
    """So many black images with the captions in turn."""
    images = torch.zeros(count, 3, module.image_size, module.image_size, dtype=torch.uint8)
    return module.encode(images, [CAPTIONS[i % len(CAPTIONS)] for i in range(count)])


def really(config: TrainConfig) -> tuple[int, int]:
    """Operations of a step, and bytes at most."""
    cls, settings = family(config.family), check(config)
    samples: list[Sample] = []
    if config.encode_ahead:
        with torch.no_grad():
            samples = encoded(cls.from_captions(settings, CAPTIONS), config.loop.batch_size)
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        task: Any = Empty(config.loop, samples)
        state = State(cls.from_captions(settings, CAPTIONS).train(), config.loop)
        for _ in range(2):
            state.advance(task, state.module, 0, 1)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        state.advance(task, state.module, 0, 1)
    return counter.get_total_flops(), most_allocated(profiler)


def most_allocated(profiler: Any) -> int:
    """Bytes, at a time."""
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = torch.tensor([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    most: Tensor = changes.cumsum(0).max()
    return int(most)


def main() -> None:
    """The table."""
    print(f"{datetime.date.today()}, {platform.machine()} CPU, torch {torch.__version__}\n")
    print("| preset | way | operations | memory | memory, really |\n|---|---|---|---|---|")
    for name in PRESETS:
        for way, changes in WAYS.items():
            config = load(TrainConfig, preset(f"train/{name}_nano"), ["loop.workers=1", *changes])
            try:
                flops, memory = really(config)
            except ValueError as error:  # a family that offers no recomputation
                print(f"| {name} | {way} | {error} | | |")
                continue
            bill = of_captions(config, CAPTIONS)
            ratios = f"{bill.flops / flops:.3f} | {bill.memory.peak / memory:.3f} | {memory / 1e6:.1f} MB"
            print(f"| {name} | {way} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
