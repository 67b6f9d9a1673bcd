"""How many images of which cells: the plan as a config says it. A cell is what rows have in some attributes."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dermray.config import Config, ConfigError
from dermray.where import AGE_BAND, Where, check

ATTRIBUTES = ("malignant", "entity", "diagnosis", "skin_tone", "sex", AGE_BAND, "site", "modality")
Attribute = Literal["malignant", "entity", "diagnosis", "skin_tone", "sex", "age_band", "site", "modality"]
LABEL_AND_TONE: tuple[Attribute, ...] = ("malignant", "skin_tone")


class _Over(Config):
    """Cells by the values that training rows have in some attributes."""

    over: tuple[Attribute, ...] = Field(
        LABEL_AND_TONE, description=f"attributes, out of {', '.join(ATTRIBUTES)}: each combination of values is a cell"
    )
    must_be_known: tuple[Attribute, ...] | None = Field(
        None,
        description="of `over`: rows without a value there are left out; where another one is unknown, rows are cells "
        "of their own. Default: malignant",
    )

    @field_validator("over")
    @classmethod
    def _some_once(cls, over: tuple[Attribute, ...]) -> tuple[Attribute, ...]:
        if not over:
            raise ValueError(f"expected at least one attribute, out of {', '.join(ATTRIBUTES)}")
        if twice := sorted({name for name in over if over.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)}: named twice; expected each attribute once")
        return over

    @model_validator(mode="after")
    def _known_of_over(self) -> Self:
        if strange := [name for name in self.must_be_known or () if name not in self.over]:
            raise ConfigError(f"must_be_known={strange}: expected some of over={list(self.over)}")
        return self

    @property
    def known(self) -> frozenset[str]:
        """Attributes whose rows without a value are left out."""
        return frozenset(("malignant",) if self.must_be_known is None else self.must_be_known)


class AsData(_Over):
    """`count` images, cells as often as in the train split."""

    mode: Literal["as_data"]


class Balanced(_Over):
    """`count` images, equally many of every cell."""

    mode: Literal["balanced"]


class FillUp(_Over):
    """As many images as a cell's real training rows lack up to a number."""

    mode: Literal["fill_up"]
    to: int = Field(ge=1, description="rows of each cell, real and synthetic together; fuller cells get none")


class CellCount(Config):
    """Images of one cell."""

    where: Where = Field(min_length=1, description="as test_sets have it, for example {entity: [mel], skin_tone: [C]}")
    count: int = Field(ge=1)

    @field_validator("where")
    @classmethod
    def _known(cls, where: Where) -> Where:
        return check(where, ATTRIBUTES)


class Exact(Config):
    """So many images of these cells, and of no others. A training row may be in several of them."""

    mode: Literal["exact"]
    cells: tuple[CellCount, ...] = Field(min_length=1)

    @field_validator("cells")
    @classmethod
    def _each_once(cls, cells: tuple[CellCount, ...]) -> tuple[CellCount, ...]:
        seen = dict[object, int]()
        for number, cell in enumerate(cells):
            same = seen.setdefault(frozenset((k, frozenset(v)) for k, v in cell.where.items()), number)
            if same != number:
                raise ValueError(f"{same} and {number} are the same cell, {cell.where}; give its count once")
        return cells


Plan = Annotated[AsData | Balanced | FillUp | Exact, Field(discriminator="mode")]
