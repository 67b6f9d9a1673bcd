"""The bill of a training before it is paid: parameters, operations, memory and files, from a step on fake tensors.

The step is the loop's own, at the config's full size, on a device that is not there (train_loop/fake_device.py). What a
CPU allocates for the same training is within a tenth of it: benchmarks/results/forecast_over_real.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.compute as pc
import torch
from pydantic import BaseModel
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from dermray import manifest
from dermray.generators import bare
from dermray.generators.base import Sample, Texts
from dermray.records import about, count_rows, read_columns
from dermray.train_loop import LoopConfig, State
from dermray.train_loop.fake_device import DEVICE, FakeDevice
from dermray.train_loop.live_bytes import LiveBytes
from dermray.train_loop.optimizers import KEPT
from dermray.train_loop.settings import images_of
from dermray.training.aspects import shapes
from dermray.training.settings import TrainConfig, check

CAPTION = " ".join(["lesion"] * 75)  # as many tokens as CLIP reads; T5 and GLIDE have padding counted too
CAPTIONS = 100_000  # at most, that words are taken from: the driver holds them
PROBED = 16  # captions, of which the longest is taken where samples are encoded ahead
# The attention of torch's CPU device, on which the fake one rests; torch counts that of GPUs.
ATTENTION: dict[Any, Callable[..., int]] = {  # of shapes: queries, keys, values; before them the gradient
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, q, k, v, *_, **__: sdpa_backward_flop_count(gradient, q, k, v)
    ),
}
CONTEXT = 1.0e9  # bytes that CUDA and its libraries take of a GPU
FRAGMENTS = 1.05  # of an allocator's room over what lies in it
QUANTIZED = {"nf4": 0.5 + 4 / 64, "fp8": 1.0}  # bytes a weight; nf4 has a float for 64 of them
# Optimisers that a fake device does not run, and their state over AdamW's, which stands in: one needs a GPU and has
# eight bits of 32, the other reads numbers, of which there are none.
STAND_INS = {"adamw8bit": 1 / 4, "prodigy": KEPT["prodigy"] / KEPT["adamw"]}


@dataclass(frozen=True)
class Forecast:
    """What a training takes. Bytes are of one worker, the one with the most images."""

    trained: int  # parameters
    frozen: int
    flops: int  # floating-point operations of a step, by all workers
    memory: Memory
    checkpoint: int  # bytes of what training goes on from
    sample: int  # bytes of an encoded image with its caption; 0 where they are not kept
    images: int | None  # of the train split; None where the rows are not at hand
    steps: int | None

    @property
    def gpu(self) -> int:
        """Bytes of a GPU that a worker fits on."""
        return int(self.memory.peak * FRAGMENTS + CONTEXT)


@dataclass(frozen=True)
class Memory:
    """Bytes of a worker."""

    weights: int  # and buffers
    gradients: int
    optimizer: int
    averages: int
    activations: int  # kept by the forward pass for the backward pass
    peak: int  # of all that lives at a time: gradients come while activations go


def forecast(config: TrainConfig) -> Forecast:
    """Of a training. Reads the small files of its base, and of its rows the captions, where they are at hand.

    Raises:
        FileNotFoundError: a base's configs are not to be had. ValueError: they do not go with the family.
    """
    try:
        rows = manifest.read(config.rows, "caption")
    except FileNotFoundError:
        return of_captions(config, [CAPTION])
    usable = (pc.field("status") == "ok") & (pc.field("split") == "train")
    images = count_rows(rows.row_files(), usable)
    some = read_columns(rows.row_files(), ["caption"], usable & about(CAPTIONS, images))
    return of_captions(config, some["caption"].to_pylist(), images)


def of_captions(config: TrainConfig, captions: list[str], images: int | None = None) -> Forecast:
    """As `forecast`, of so many images with such captions."""
    settings, workers = check(config), config.loop.least_and_most[0]
    with FakeDevice() as device, LiveBytes(DEVICE) as live:
        step = _Step(config, settings, captions, device, live)
        state = State(step.module.train(), _share(config.loop, workers))
        task: Any = step  # of a task, a step asks for no more than it has
        with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
            state.advance(task, step, 0, 1)  # which makes the optimiser's state too
        step.kept, live.peak = 0, live.now
        state.advance(task, step, 0, 1)  # another, because torch's counter holds on to activations
        memory = Memory(
            _size(_all(step.module)), _size(state.trained), _size(_moments(state)), _size(state.ema), step.kept,
            live.peak,
        )  # fmt: skip
        memory = _as_it_is(memory, config, step.module)
        return Forecast(
            trained=sum(weight.numel() for weight in state.trained),
            frozen=sum(weight.numel() for weight in step.module.parameters() if not weight.requires_grad),
            flops=counter.get_total_flops() * config.loop.batch_size // state.config.batch_size,
            memory=_in_parts(memory, config.loop, step.module, workers),
            checkpoint=_size(_kept(state)) + memory.optimizer + memory.averages,
            sample=len(save(step.sample)) * (1 + len(config.captions)) if config.encode_ahead else 0,
            images=images,
            steps=config.loop.steps or (config.loop.counted(images).steps if images else None),
        )


class _Step:
    """A task whose images are empty, and its module, which is called as the loop calls it."""

    unused_parameters = False

    def __init__(
        self, config: TrainConfig, settings: BaseModel, captions: list[str], device: FakeDevice, live: LiveBytes
    ) -> None:
        self._config, self._settings, self._captions, self._live = config, settings, captions, live
        self._loop = _share(config.loop, config.loop.least_and_most[0])
        self.kept = 0  # bytes, by the forward pass for the backward pass
        self.module = bare.build(config.family, settings, captions, device.take)
        self.sample = _on_host(
            max(self._encoded(min(len(captions), PROBED)), key=lambda sample: _size(sample.values()))
        )
        if config.encode_ahead:
            texts: Texts = {"": {name: value for name, value in self.sample.items() if name != "moments"}}
            self.module = bare.build(config.family, settings, captions, device.take, texts)
        if type(self.module).prior_by(settings) is not None:
            prior_images: int = settings.prior_images  # type: ignore[attr-defined]  # of a family with a prior
            self.module.keep_prior(self.module.collate([_like(self.sample) for _ in range(prior_images)]))

    def __call__(self, *arguments: Any) -> Any:
        """The loss."""
        before = self._live.now
        loss = self.module(*arguments)
        self.kept = max(self.kept, self._live.now - before)
        return loss

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        """A part of the batch, encoded now or ahead as the config says."""
        count = images_of(self._loop, rank, workers, part)
        ahead = self._config.encode_ahead
        samples = [_like(self.sample) for _ in range(count)] if ahead else self._encoded(count)
        return (self.module.collate(samples),)

    def describe(self, step: int, rank: int, workers: int, part: int) -> list[str]:
        """No image has a name."""
        return []

    def _encoded(self, count: int) -> list[Sample]:
        """Of the largest size."""
        side = max(self._config.buckets, default=self.module.image_size)
        every = shapes(side, self._config.aspects) if self._config.aspects else [(side, side)]
        width, height = max(every, key=math.prod)
        images = torch.zeros(count, 3, height, width, dtype=torch.uint8, device=DEVICE)
        return self.module.encode(images, [self._captions[i % len(self._captions)] for i in range(count)])


def _share(loop: LoopConfig, workers: int) -> LoopConfig:
    """One worker's share, by optimisers that fake tensors go with and without a graph: `_as_it_is` makes up for the
    first."""
    batch = math.ceil(loop.batch_size / workers)
    others = {"steps": 1000, "epochs": None, "workers": 1, "parallel": "ddp", "compile": False}
    optimizer = "adamw" if loop.optimizer in STAND_INS else loop.optimizer
    return loop.model_copy(update={"batch_size": batch, "optimizer": optimizer, **others})


def _as_it_is(memory: Memory, config: TrainConfig, module: nn.Module) -> Memory:
    """With a quantised base, which needs a GPU to be made, and the state of the optimiser that AdamW stood in for."""
    weights = 0.0
    if kind := config.model.get("quantization"):
        transformer: Any = module.transformer
        linear = [layer.weight for layer in transformer.modules() if isinstance(layer, nn.Linear)]
        weights = sum(w.numel() * (w.element_size() - QUANTIZED[kind]) for w in linear if not w.requires_grad)
    optimizer = memory.optimizer * (1 - STAND_INS.get(config.loop.optimizer, 1))
    return replace(
        memory, weights=int(memory.weights - weights), optimizer=int(memory.optimizer - optimizer),
        peak=int(memory.peak - weights - optimizer),
    )  # fmt: skip


def _in_parts(memory: Memory, loop: LoopConfig, module: nn.Module, workers: int) -> Memory:
    """By FSDP each worker has a part of all that belongs to trained modules, and two of their blocks whole: the one
    that is computed and the one that comes next."""
    if loop.parallel == "ddp" or workers == 1:
        return memory
    from dermray.train_loop.sharding import blocks

    parts = [part for part in module.children() if any(weight.requires_grad for weight in part.parameters())]
    shared = _size(weight for part in parts for weight in part.parameters())
    largest = max((_size(block.parameters()) for part in parts for block in blocks(part)), default=0)
    gone = lambda size: size * (workers - 1) // workers  # noqa: E731
    gradients, optimizer, averages = memory.gradients, memory.optimizer, memory.averages
    return Memory(
        memory.weights - gone(shared), gradients - gone(gradients), optimizer - gone(optimizer),
        averages - gone(averages), memory.activations,
        memory.peak - gone(shared + gradients + optimizer + averages) + 2 * largest,
    )  # fmt: skip


def _like(sample: Sample) -> Sample:
    return {name: torch.zeros(value.shape, dtype=value.dtype, device=DEVICE) for name, value in sample.items()}


def _on_host(sample: Sample) -> Sample:
    return {name: value.cpu() for name, value in sample.items()}


def _all(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _moments(state: State) -> list[Tensor]:
    """The tensors of an optimiser's state."""
    return [value for of in state.optimizer.state.values() for value in of.values() if isinstance(value, Tensor)]


def _kept(state: State) -> list[Tensor]:
    """Those of the module that are in a checkpoint."""
    return [value for name, value in state.module.state_dict().items() if name in state.kept]


def _size(tensors: Iterable[Tensor]) -> int:
    """Bytes; what lies in one storage counts once."""
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())
