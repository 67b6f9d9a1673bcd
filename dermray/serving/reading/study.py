"""A built study as readers may see it. Nothing but its folder `readers` is opened: the key stays sealed."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from dermray import manifest, storage
from dermray.reader_study import form, key
from dermray.reader_study.questions import Question


class Word(BaseModel):
    """What a question may be answered with."""

    word: str
    meaning: str = ""


class Asked(BaseModel):
    """A question of the study."""

    column: str
    answers: list[Word] = Field(min_length=2)

    @property
    def text(self) -> str:
        """As readers are asked."""
        return Question(self.column, tuple(one.word for one in self.answers)).text


class About(BaseModel):
    """`study.json`."""

    format: int
    study: str = Field(max_length=64)
    commitment: str
    title: str
    questions: list[Asked] = Field(min_length=1)
    columns: list[str]
    confidence: tuple[int, int]
    side: int
    images: list[str] = Field(min_length=1)


@dataclass(frozen=True)
class Study:
    """A study, and where its images lie."""

    name: str  # as the service calls it
    place: str  # URI of the readers' folder
    about: About

    @property
    def id(self) -> str:
        """By its sealed key, as it stands in every line of a form."""
        return self.about.study

    @property
    def images(self) -> list[str]:
        """Names in the study's order, as forms have them."""
        return [image.rpartition("/")[2] for image in self.about.images]

    def order(self, seed: str) -> list[str]:
        """The images as one reader sees them."""
        return sorted(self.images, key=lambda image: hashlib.sha256(f"{seed} {image}".encode()).digest())

    def image(self, name: str) -> bytes:
        """A PNG. Blocks. Raises OSError: it is not there any more."""
        return storage.read_bytes(storage.join(self.place, "images", name))

    def cells(self, given: Mapping[str, Any]) -> dict[str, str]:
        """An answer as the form's cells; what is None is left out.

        Raises:
            ValueError: a column that is none, a word that is no answer, or a confidence that is no whole number of its
                range. The message names the column first.
        """
        known = {question.column: [one.word for one in question.answers] for question in self.about.questions}
        sure = {form.sure_column(column) for column in known}
        cells = {}
        for column, value in given.items():
            if column not in known and column not in sure:
                raise ValueError(f"{column[:80]!a}: not asked; expected {', '.join([*known, *sorted(sure)])}")
            if value is None:
                continue
            if column in known and value not in known[column]:
                raise ValueError(f"{column}={ascii(value)[:80]}: no answer; expected one of {', '.join(known[column])}")
            if column in sure:
                self._require_confidence(column, value)
            cells[column] = str(value)
        return cells

    def complete(self, said: Mapping[str, str]) -> bool:
        """Whether every question has an answer."""
        return all(question.column in said for question in self.about.questions)

    def _require_confidence(self, column: str, value: Any) -> None:
        least, most = self.about.confidence
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(
                f"{column}={ascii(value)[:80]}: expected a whole number from {least} (a guess) to {most} (certain), or "
                "nothing"
            )


def opened(name: str, uri: str) -> Study:
    """The study of a built result.

    Raises:
        FileNotFoundError: no finished result there, or without its readers' folder. ValueError: another stage's result,
            or a damaged one.
    """
    built = manifest.read(uri, key.BUILD)
    place = storage.join(built.data, key.STUDY)
    if not storage.exists(place):
        raise FileNotFoundError(f"{place}: missing; give a whole result of `dermray reader-study build`")
    try:
        about = About.model_validate(json.loads(storage.read_bytes(place)))
    except (ValidationError, ValueError):
        raise ValueError(f"{place}: damaged, no longer as `reader-study build` wrote it; put it back") from None
    if about.format != key.FORMAT or about.study != key.study_of(str(built.manifest.metrics["commitment"])):
        raise ValueError(f"{place}: not of this result, or of another version; build the study again")
    if strange := [image for image in about.images if not re.fullmatch(r"images/[0-9]+\.png", image)]:
        raise ValueError(f"{place}: image {strange[0][:80]!r}, expected names such as images/001.png")
    return Study(name, storage.join(built.data, key.READERS), about)
