"""The instruct stage's config."""

from typing import Self

from pydantic import Field, model_validator

from dermray.captioning.asking import AskingConfig
from dermray.captioning.settings import Sampling
from dermray.config import ConfigError
from dermray.vlm.instruct.context import COLUMNS
from dermray.vlm.instruct.self_instruct import SelfInstructConfig


class InstructConfig(AskingConfig):
    """Which rows, which model, which metadata it is given, and how its answers are judged."""

    sampling: Sampling = Sampling(max_tokens=320)
    context: list[str] = Field(
        list(COLUMNS),
        description=f"metadata given to the model for its reasoning only, out of {COLUMNS}",
    )
    most_characters: int | None = Field(
        None,
        ge=16,
        description="length at which guided decoding ends an answer, which then counts as truncated; for models that "
        "do not stop by themselves",
    )
    one_sentence: bool = Field(
        False,
        description="guided decoding ends an answer at its first full stop; for models that do not follow instructions",
    )
    near_duplicate: float = Field(
        0.7,
        gt=0,
        le=1,
        description="share of common shingles from which on an answer repeats another about the same image",
    )

    most_equal_pairs: int | None = Field(
        None,
        ge=1,
        description="maximum number of images, those with the smallest ids, that keep the same answer to the same "
        "question; default: no limit",
    )
    self_instruct: SelfInstructConfig | None = Field(
        None,
        description="a second round in which the model asks and answers new questions itself; default: no such round",
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
