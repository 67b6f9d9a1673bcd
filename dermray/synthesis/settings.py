"""What a synthesis may be told. Apart from what draws, which takes seconds to import."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dermray.config import ConfigError, HowFast
from dermray.datasets.licences import CommercialUse
from dermray.result_fields import ResultOf
from dermray.synthesis.gate.settings import GateConfig
from dermray.synthesis.plan_settings import Balanced, Exact, FillUp, Plan

COUNT = 600  # images, where nothing says how many


class SynthesisConfig(CommercialUse):
    """How many images, of what, and how they are sampled."""

    output: str
    generator: Annotated[str, ResultOf("train")] = Field(description="result of the train stage")
    rows: Annotated[str, ResultOf("caption")] = Field(
        description="result of the caption stage that the generator was trained on"
    )
    count: int | None = Field(
        None, ge=1, description=f"images; default {COUNT}. Not with plan.mode fill_up or exact, which say it themselves"
    )
    plan: Plan = Balanced(mode="balanced")
    prompts: Literal["captions", "attributes"] = Field(
        "captions",
        description="a training caption of the cell, or what captions say of a row's metadata before they describe it",
    )
    images_per_caption: int = Field(
        100, ge=1, description="in the mean, at most: a cell with fewer captions cannot vary more images"
    )
    sizes: tuple[int, ...] = Field(
        (), description="px, where the family draws any: equally many of each in every cell. Default: the model's size"
    )
    guidance_scale: float = Field(2.0, ge=0)
    sampling_steps: int = Field(20, ge=1, le=1000)
    gate: GateConfig = Field(GateConfig(), description="against copies of training images")
    gate_of: Annotated[str | None, ResultOf("generate")] = Field(
        None, description="an earlier drawing whose gate is taken as it is: its generator learned from the same images"
    )
    seed: int = Field(0, ge=0)
    actors: HowFast[int] = Field(2, ge=1)
    cpus_per_actor: float = Field(1, gt=0)
    gpus_per_actor: float = Field(0, ge=0)
    batch_size: int = Field(50, ge=1, description="images per block and per sampling batch: what a crash costs")

    @model_validator(mode="after")
    def _counted_once(self) -> Self:
        if self.count is not None and isinstance(self.plan, FillUp | Exact):
            raise ConfigError(
                f"count={self.count}: plan.mode={self.plan.mode} says itself how many images there are; "
                f"leave count out (count=null where a preset has it)"
            )
        return self

    @model_validator(mode="after")
    def _one_gate(self) -> Self:
        if self.gate_of is not None and "gate" in self.model_fields_set:
            raise ConfigError(f"gate_of={self.gate_of}: that gate has settings of its own; leave out gate, or gate_of")
        return self

    @property
    def images(self) -> int | None:
        """How many are to be drawn, where the config alone says it."""
        if isinstance(self.plan, Exact):
            return sum(cell.count for cell in self.plan.cells)
        return None if isinstance(self.plan, FillUp) else self.count or COUNT
