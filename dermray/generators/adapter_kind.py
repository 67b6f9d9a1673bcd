"""Which kind of adapter a family trains: LoRA, DoRA or LoKr, all by peft."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dermray.config import Config, ConfigError

Kind = Literal["lora", "dora", "lokr"]


class AdapterConfig(Config):
    """What the adapters are like. Families add what they sit on."""

    adapter: Kind = Field(
        "lora", description="dora trains each output's length too; lokr, a Kronecker product, has far fewer parameters"
    )
    lokr_factor: int = Field(
        16, ge=-1, description="side of lokr's small matrix, where it divides a layer's; -1: as square as can be"
    )

    @model_validator(mode="after")
    def _kind_goes_with_the_rest(self) -> Self:
        """What was tried with plain LoRA alone. Families have both fields."""
        if self.lokr_factor == 0:
            raise ConfigError("lokr_factor=0: expected a side of 1 or more, or -1 for as square as can be")
        if self.adapter == "lora":
            return self
        if kind := getattr(self, "quantization", None):
            raise ConfigError(
                f"adapter={self.adapter}: does not go with quantization={kind}, as it reads the base's weights; give "
                "adapter=lora, or leave quantization out"
            )
        if file := getattr(self, "start_from", None):
            raise ConfigError(
                f"adapter={self.adapter}: start_from={file} goes on from plain LoRA only; give adapter=lora, or leave "
                "start_from out"
            )
        return self


def peft_config(kind: Kind, targets: str | list[str], rank: int, alpha: float, factor: int) -> Any:
    """peft's own. Adapters add nothing at the start.

    Args:
        targets: a regular expression of whole module names, or name endings. factor: of lokr.
    """
    from peft import LoKrConfig, LoraConfig

    if kind == "lokr":
        # any number scales, though peft's type is int
        return LoKrConfig(r=rank, alpha=alpha, target_modules=targets, decompose_factor=factor)
    # "gaussian" is how diffusers' training scripts draw A; peft's own default is another distribution
    return LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=targets, init_lora_weights="gaussian", use_dora=kind == "dora"
    )
