"""The instruct stage's config."""

from typing import Self

from pydantic import Field, model_validator

from dermray.captioning.asking import AskingConfig
from dermray.captioning.settings import Sampling
from dermray.config import ConfigError
from dermray.vlm.instruct.context import COLUMNS
from dermray.vlm.instruct.self_instruct import SelfInstructConfig


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
    one_sentence: bool = Field(
        False,
        description="guided decoding ends an answer at its first full stop; for models that follow no instruction",
    )
    near_duplicate: float = Field(
        0.7, gt=0, le=1, description="share of shingles in common from which on an answer repeats another of its image"
    )

    most_equal_pairs: int | None = Field(
        None,
        ge=1,
        description="so many images at most, those with the smallest ids, keep the same answer to the same question; "
        "any number if none",
    )
    self_instruct: SelfInstructConfig | None = Field(
        None, description="a second round: the model asks new questions itself and answers them; none if not given"
    )

    @property
    def over_all(self) -> bool:
        """Whether something is judged over the whole set, after all answers."""
        return self.self_instruct is not None or self.most_equal_pairs is not None

    @model_validator(mode="after")
    def _room_for_new_questions(self) -> Self:
        """Both rounds' answers are as long as `sampling` lets them."""
        if self.self_instruct and self.sampling.max_tokens < (least := 32 * self.self_instruct.questions):
            raise ConfigError(
                f"sampling.max_tokens={self.sampling.max_tokens}: self_instruct.questions="
                f"{self.self_instruct.questions} new questions with their answers would be cut; expected at least "
                f"{least}, or fewer questions"
            )
        return self

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        """Columns that there are."""
        if unknown := sorted(set(self.context) - set(COLUMNS)):
            raise ConfigError(f"context={unknown}: expected names out of {COLUMNS}")
        return self
