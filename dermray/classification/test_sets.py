"""What classifiers are tested on: the rows' own test split, and others."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from dermray.classification.overlap import GROUP, IDS, counted, in_words, shared
from dermray.classification.pools import read_pool
from dermray.classification.targets import COLUMNS, Target
from dermray.config import Config, HowFast
from dermray.manifest import Result
from dermray.result_fields import ResultOf
from dermray.where import AGE_BAND, Where, check, rows_where

OWN = "test"  # the rows' test split


class External(Config):
    """Another test set, such as DDI's images of skin tone C."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    rows: HowFast[Annotated[str, ResultOf("ingest", "caption")]] = Field(description="result of ingest or caption")
    split: Literal["train", "val", "test"] | None = Field(None, description="its split; default: all of it")
    where: Where = Field({}, description="only such rows, for example {skin_tone: [C]}")

    @field_validator("name")
    @classmethod
    def _another(cls, name: str) -> str:
        if name in (OWN, "validation"):
            raise ValueError("the rows' own split has this name; expected another one")
        return name

    @field_validator("where")
    @classmethod
    def _known(cls, given: Where) -> Where:
        return check(given, (*COLUMNS, AGE_BAND))

    def filter(self) -> Any:
        """Its rows, as a pyarrow dataset filter."""
        wanted = pc.field("status") == "ok"
        if self.split:
            wanted &= pc.field("split") == self.split
        return wanted & rows_where(self.where) if self.where else wanted


def read_test_set(given: External, result: Result, target: Target, most: int) -> tuple[pa.Table, int]:
    """Its labelled rows with the least ids, and how many have no label.

    Raises:
        ValueError: no such row.
    """
    rows, unknown = read_pool(result, given.filter(), target, most)
    if not len(rows):
        what = f" with {given.where}" if given.where else ""
        raise ValueError(
            f"test set {given.name}: no image{what} has a known {target.column} ({unknown} have none); look at the "
            f"values in {result.uri}"
        )
    return rows, unknown


def without_shared(
    name: str, test: pa.Table, seen: Sequence[pa.Table], near: pa.Array | None, target: Target
) -> tuple[pa.Table, dict[str, int]]:
    """The test images that share nothing with training, and the numbers of those that do, by what they share.

    Args:
        seen: rows of training and validation.

    Raises:
        ValueError: all do, or those left are of one class.
    """
    masks = shared(test, pa.concat_tables(seen), near)
    removed = counted(masks)
    told = in_words(removed)
    left = test.filter(pa.array(~masks[GROUP]))
    if not len(left):
        raise ValueError(
            f"test set {name}: all of its {len(test)} images are shared with training ({told}): it would measure what "
            "was learned by heart; leave it out, or train on other rows"
        )
    require_classes(name, left, target, f" after {removed['all']} that training shares were removed ({told})")
    return left, removed


def without_tested(
    source: str, drawn: pa.Table, tests: Sequence[pa.Table], near: pa.Array | None, target: Target
) -> tuple[pa.Table, dict[str, int]]:
    """The synthetic images that show no test image, and the numbers of those that do, by what they share.

    Others may have drawn them with a generator that learned test images by heart, or mixed in real ones. These leave
    training and not the test sets, which stay the same whatever sources there are.

    Raises:
        ValueError: all do, or those left are of one class.
    """
    ids = [test.select([*IDS]) for test in tests]
    masks = shared(drawn, pa.concat_tables(ids), near)
    found = counted(masks)
    told = in_words(found)
    left = drawn.filter(pa.array(~masks[GROUP]))
    when = f" after {found['all']} that show test images were removed ({told})" if told else ""
    require_classes(f"synthetic {source}".strip(), left, target, when)
    return left, found


def require_classes(name: str, rows: pa.Table, target: Target, when: str = "") -> None:
    """Refuse rows of a single class.

    Raises:
        ValueError: no AUC can be had of them.
    """
    classes = rows["label"].unique().to_pylist()
    if len(classes) < 2:
        held = f"only {target.classes[classes[0]]}" if classes else "no image"
        raise ValueError(f"{name}: holds {held}{when}; expected at least two of {', '.join(target.classes)}")


def refuse_seen(name: str, images: int, by_source: Mapping[str, Mapping[str, int]]) -> None:
    """A generator that saw test images may have drawn them.

    Args:
        images: of the test set. by_source: how many of them each source's generator saw, as `counted` has it.

    Raises:
        ValueError: one saw some, or images of their patients or lesions.
    """
    for source, found in by_source.items():
        if found["all"]:
            told = in_words(dict(found))
            raise ValueError(
                f"test set {name}: the generator of synthetic source {source or 'given'} saw {found['all']} of its "
                f"{images} images or of their patients ({told}), and may have drawn them; take a generator that did "
                "not, or leave this test set out"
            )
