"""The captioner stage: train the nano captioner on phantoms with Ray Train, export it for vLLM."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from dermray import manifest
from dermray.config import Config, ConfigError
from dermray.manifest import Result, Rows
from dermray.pages import Block
from dermray.train_loop import TEMPORARY, LoopConfig, fit, how_far
from dermray.train_loop.report_block import training_block
from dermray.train_loop.settings import images_of
from dermray.vlm.lessons import Lessons, Pupil, draw_lessons
from dermray.vlm.nano import NanoConfig, build_model, build_processor, save


class CaptionerConfig(Config):
    """The nano captioner's size and schooling. Its phantoms are its own: no stage's rows are among them."""

    output: str
    model: NanoConfig = NanoConfig()
    phantoms: int = Field(6000, ge=1, description="drawn once, shared out over the workers")
    phantom_seed: int = Field(1_000_003, ge=0)
    confounded: float = Field(
        0,
        ge=0,
        le=1,
        description="share of the phantoms whose border is irregular just where they are asymmetric: makes a captioner "
        "with a shortcut, to see whether tuning takes it away",
    )
    eye_share: float = Field(0.5, ge=0, le=1, description="share of the steps that train the vision tower alone")
    loop: LoopConfig

    @model_validator(mode="after")
    def _can_be_taught(self) -> Self:
        if self.loop.keep_best:
            raise ConfigError("loop.keep_best=true: a captioner has no validation loss to choose by; leave it out")
        if self.phantoms < (most := self.loop.least_and_most[1]):
            raise ConfigError(f"phantoms={self.phantoms}: expected at least one for each of {most} workers")
        return self


def run(config: CaptionerConfig) -> Result:
    """Train and export: `model/` for transformers, `model/vllm/` for vLLM."""
    with manifest.work("captioner", config.output, config, {}, how_far) as work:
        if work.finished:
            return work.finished
        loop = config.loop.counted(config.phantoms)
        report = fit(CaptionerTask(config.model_dump() | {"loop": loop.model_dump()}), loop, work.data)
        rows = Rows(rows_in=config.phantoms, ok=config.phantoms, rejected=0, failed=0)
        cpus = report["workers"] * config.loop.cpus_per_worker
        return work.commit(rows, config.phantoms, cpus=cpus, temporary=TEMPORARY, training=report)


@dataclass
class CaptionerTask:
    """Each worker draws its own share of the phantoms and takes its batches from there."""

    settings: dict[str, Any]
    unused_parameters: bool = True  # the language model, while the vision tower learns alone
    _lessons: Lessons | None = field(default=None, repr=False)

    @property
    def config(self) -> CaptionerConfig:
        """The typed config."""
        return CaptionerConfig(**self.settings)

    def build(self) -> nn.Module:
        """A captioner with random weights and the heads that teach its eye."""
        processor = build_processor(self.config.model)
        return Pupil(build_model(self.config.model, processor.tokenizer))

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        """A random batch in a random one of eight orientations, and whether to speak about it."""
        config = self.config
        count = len(range(rank, config.phantoms, workers))  # shared out so that none is left
        if self._lessons is None:
            seed, processor = config.phantom_seed + rank, build_processor(config.model)
            self._lessons = draw_lessons(config.model, processor, seed, count, config.confounded)
        index = torch.randint(count, (images_of(config.loop, rank, workers, part),))
        turns, flip = int(torch.randint(4, ())), bool(torch.randint(2, ()))
        device = next(module.parameters()).device
        return self._lessons.batch(index, turns, flip).to(device), step >= config.eye_share * config.loop.steps

    def describe(self, step: int, rank: int, workers: int, part: int) -> list[str]:
        """Phantoms have no names of their own."""
        return [f"phantoms of seed {self.config.phantom_seed + rank}"]

    def validation_loss(self, module: nn.Module) -> float | None:
        """The caption stage measures it, through vLLM."""
        return None

    def pictures(self, module: nn.Module) -> dict[str, torch.Tensor]:
        """It draws none."""
        return {}

    def words(self, module: nn.Module) -> dict[str, str]:
        """It says nothing."""
        return {}

    def scores(self, pictures: dict[str, torch.Tensor]) -> dict[str, float]:
        """There are none to score."""
        return {}

    def save(self, module: nn.Module, directory: Path) -> None:
        """The captioner alone, in both formats."""
        assert isinstance(module, Pupil)
        save(module.model, build_processor(self.config.model), directory)


def report_block(result: Result, inputs: Mapping[str, Result]) -> Block:
    """Its loss, for a run's report."""
    return training_block("The captioner's training", result)
