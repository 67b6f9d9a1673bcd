"""The instruct stage's config."""

from typing import Self

from pydantic import Field, model_validator

from dermray.captioning.asking import AskingConfig
from dermray.captioning.settings import Sampling
from dermray.config import ConfigError
from dermray.vlm.instruct.context import COLUMNS


class InstructConfig(AskingConfig):
    """Which rows, which model, what it is told of them, and what becomes of its answers."""

    sampling: Sampling = Sampling(max_tokens=320)
    context: list[str] = Field(
        list(COLUMNS),
        description=f"metadata that the model is told, for its reasoning only, out of {COLUMNS}",
    )
    most_characters: int | None = Field(
        None,
        ge=16,
        description="at which guided decoding ends an answer, which then counts as truncated; for models that do not "
        "end by themselves",
    )
    near_duplicate: float = Field(
        0.7, gt=0, le=1, description="share of shingles in common from which on an answer repeats another of its image"
    )

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        """Columns that there are."""
        if unknown := sorted(set(self.context) - set(COLUMNS)):
            raise ConfigError(f"context={unknown}: expected names out of {COLUMNS}")
        return self
