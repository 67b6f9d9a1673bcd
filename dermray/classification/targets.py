"""What a classifier tells apart: malignant from benign, or the classes of any column."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dermray.config import ConfigError
from dermray.records import IMAGES

UNKNOWN = -1  # number of a row whose label is null or no class
BINARY = "malignant"  # the column with one logit
MALIGNANT, BENIGN = "malignant", "benign"
NO_TARGETS = (  # what names a row or its image, or says what became of it
    *("sample_id", "image", "width", "height", "modification", "original_id", "source_id", "patient_id", "lesion_id"),
    *("leak_group", "split", "status", "reason", "cell_issues", "true_colours"),
)
COLUMNS = tuple(name for name in IMAGES.names if name not in NO_TARGETS)


@dataclass(frozen=True)
class Target:
    """A column of the rows, and the classes in it in the order of their numbers.

    `malignant` is binary: benign 0, malignant 1, one logit and a sigmoid. Any other column has a logit a class and a
    softmax. Probabilities have a column per class in both cases.
    """

    column: str
    classes: tuple[str, ...]

    @classmethod
    def of(cls, column: str, values: Iterable[object] = (), classes: Iterable[str] = ()) -> "Target":
        """The target of a column.

        Args:
            values: of the train split, whose sorted distinct names are the classes where `classes` gives none.

        Raises:
            ValueError: no such column, or fewer than two classes.
        """
        if column not in COLUMNS:
            raise ValueError(f"column={column}: no label column; expected one of {', '.join(COLUMNS)}")
        if column == BINARY:
            return cls(column, (BENIGN, MALIGNANT))
        found = tuple(classes) or tuple(sorted({name for value in values if (name := name_of(value)) is not None}))
        if len(set(found)) < 2 or len(set(found)) < len(found):
            told = ", ".join(found) or "none: all are unknown"
            raise ValueError(f"column={column}: expected at least two classes, each once, got {told}; take another one")
        return cls(column, found)

    @property
    def binary(self) -> bool:
        """Whether it is malignant against benign."""
        return self.column == BINARY

    @property
    def outputs(self) -> int:
        """Logits of a classifier."""
        return 1 if self.binary else len(self.classes)

    def numbers(self, values: Iterable[object]) -> np.ndarray:
        """(N,) int64 numbers of classes; UNKNOWN for null and for what is none of them."""
        known = {name: number for number, name in enumerate(self.classes)}
        names = (_NAMES_OF_BINARY.get(value) if self.binary else name_of(value) for value in values)
        return np.fromiter((UNKNOWN if name is None else known.get(name, UNKNOWN) for name in names), np.int64)


_NAMES_OF_BINARY: dict[object, str] = {True: MALIGNANT, False: BENIGN}


def name_of(value: object) -> str | None:
    """A class's name: the value itself, or true and false."""
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def require_no_classes(column: str, classes: Iterable[str]) -> None:
    """Refuse classes for a column that has its own.

    Raises:
        ConfigError: these would be left aside in silence.
    """
    if column == BINARY and (given := tuple(classes)) not in ((), (BENIGN, MALIGNANT)):
        raise ConfigError(
            f"classes={[*given]}: column={BINARY} tells {BENIGN} from {MALIGNANT}; leave classes out, or name another "
            "column"
        )


def counts(labels: np.ndarray, target: Target) -> dict[str, int]:
    """How many images each class has, and how many are unknown if any are.

    Args:
        labels: (N,) as `Target.numbers` gives them.
    """
    found = {name: int((labels == number).sum()) for number, name in enumerate(target.classes)}
    unknown = int((labels == UNKNOWN).sum())
    return found | ({"unknown": unknown} if unknown else {})
