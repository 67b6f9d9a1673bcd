"""What readers answered: their files, checked against the study."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from dermray import storage
from dermray.classification.targets import UNKNOWN
from dermray.datasets.cells import is_missing
from dermray.reader_study.form import IMAGE, MOST, STUDY, sure_column
from dermray.reader_study.questions import Question
from dermray.reader_study.sheets import Line, lines_of

NAMED = 5  # images in a message


@dataclass(frozen=True)
class Answer:
    """One reader's answers to one question, in the order of the study's images."""

    question: Question
    said: np.ndarray  # (N,) int64 numbers of classes, UNKNOWN where not answered
    sure: np.ndarray  # (N,) float64 from 0 (a guess) to 1 (certain); nan where not said

    @property
    def known(self) -> np.ndarray:
        """(N,) bool, answered."""
        return np.asarray(self.said != UNKNOWN)

    @property
    def confident(self) -> bool:
        """Whether every answer has a confidence."""
        return bool(self.known.any() and np.isfinite(self.sure[self.known]).all())

    def scores(self) -> np.ndarray:
        """(N, C) how much an answer speaks for each class, from 0 to 1: a certain yes, an unsure yes, an unsure no and
        a certain no in this order. Where confidences are missing, 1 for the answer and 0 for all others."""
        sure = np.where(self.known, self.sure, np.nan) if self.confident else np.ones(len(self.said))
        chosen = self.said[:, None] == np.arange(len(self.question.classes))
        return np.asarray(0.5 + np.where(chosen, 0.5, -0.5) * sure[:, None])


@dataclass(frozen=True)
class Reader:
    """All that one reader answered."""

    name: str
    answers: tuple[Answer, Answer]


def read(uris: Sequence[str], study: str, images: Sequence[str], asked: Sequence[Question]) -> list[Reader]:
    """Every reader's file; readers are named after these.

    Raises:
        FileNotFoundError, ValueError, ImportError: see `sheets.lines_of`; another study, an image that is not in it or
            there twice, a word that is no answer, two files of one name.
    """
    uris = [storage.normalise(uri) for uri in uris]
    names = [PurePosixPath(uri).stem for uri in uris]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"answers: several files are named {twice[0]}; name each after its reader")
    return [_reader(name, uri, study, images, asked) for name, uri in zip(names, uris, strict=True)]


def _reader(name: str, uri: str, study: str, images: Sequence[str], asked: Sequence[Question]) -> Reader:
    required = [STUDY, IMAGE, *(question.column for question in asked)]
    lines = lines_of(uri, required, [sure_column(question.column) for question in asked])
    _require_study(uri, lines, study)
    by_image = _by_image(uri, lines, images)
    first, second = (_answer(question, by_image, images) for question in asked)
    return Reader(name, (first, second))


def _require_study(uri: str, lines: Sequence[Line], study: str) -> None:
    for place, cells in lines:
        if cells[STUDY] != study:
            raise ValueError(
                f"{uri}: answers to another study ({place} says {cells[STUDY] or 'nothing'!r}, this one is {study!r}); "
                "give the result that this form was built with"
            )


def _by_image(uri: str, lines: Sequence[Line], images: Sequence[str]) -> dict[str, Line]:
    found: dict[str, Line] = {}
    for place, cells in lines:
        image = cells[IMAGE]
        if image not in images:
            raise ValueError(f"{place}: image={image!r} is not in the study; expected {images[0]} to {images[-1]}")
        if image in found:
            raise ValueError(f"{place}: image={image!r} is there a second time, first in {found[image][0]}; keep one")
        found[image] = (place, cells)
    return found


def _answer(question: Question, by_image: dict[str, Line], images: Sequence[str]) -> Answer:
    said, sure = np.full(len(images), UNKNOWN), np.full(len(images), np.nan)
    for number, image in enumerate(images):
        place, cells = by_image.get(image, ("", {}))
        try:
            if not is_missing(word := cells.get(question.column)):
                said[number] = question.number(str(word))
            sure[number] = _confidence(sure_column(question.column), cells.get(sure_column(question.column)))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
    return Answer(question, said, sure)


def _confidence(column: str, text: str | None) -> float:
    """From 0 to 1; nan where nothing is said.

    Raises:
        ValueError: no whole number from 0 to 100. 0.8 may be meant as 80.
    """
    if text is None or is_missing(text):
        return float("nan")
    number = text.removesuffix("%").strip()
    if not (number.isascii() and number.isdecimal() and int(number) <= MOST):
        raise ValueError(f"{column}={text!r}: expected a whole number from 0 (a guess) to {MOST} (certain), or nothing")
    return int(number) / MOST


def require_all(readers: Sequence[Reader], images: Sequence[str]) -> None:
    """Refuse what is not answered.

    Raises:
        ValueError: with the reader and the first images.
    """
    for reader in readers:
        for answer in reader.answers:
            if missing := [image for image, known in zip(images, answer.known, strict=True) if not known]:
                told = ", ".join(missing[:NAMED]) + (", ..." if len(missing) > NAMED else "")
                raise ValueError(
                    f"{reader.name}: {len(missing)} images have no answer in column {answer.question.column} ({told}); "
                    "complete the form, or unanswered=leave_out takes figures of the others"
                )
