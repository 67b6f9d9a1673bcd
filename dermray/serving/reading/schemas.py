"""What the page of a reader study sends and is told. Nothing here differs by what an image is."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Announced(BaseModel):
    """A study, to who has no code yet."""

    title: str


class SessionRequest(BaseModel):
    """A reader who wants to begin, or to go on."""

    model_config = ConfigDict(extra="forbid")
    code: str = Field(max_length=200)
    take_over: bool = Field(False, description="end the session in which this code is in use now")


class SessionSaid(BaseModel):
    """To be sent as `Authorization: Bearer <session>`."""

    session: str
    reader: str


class AnswerRequest(BaseModel):
    """A reader's answer to an image."""

    model_config = ConfigDict(extra="forbid")
    said: dict[str, Any] = Field(description="words and confidences by the form's columns; nothing or null: no answer")
    replaces: int = Field(ge=0, description="revision of the answer that the page knows of; 0: none")
    sent_as: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$", description="the same when it is sent again")
    seconds: float | None = Field(None, ge=0, le=86_400, allow_inf_nan=False, description="that the image was shown")


class AnswerSaid(BaseModel):
    """It is kept."""

    revision: int


class FinishRequest(BaseModel):
    """Nothing is answered after this."""

    model_config = ConfigDict(extra="forbid")
    answered: int = Field(ge=0, description="images with all answers, as the reader was told")


class Answered(BaseModel):
    """The newest answer to an image."""

    place: int
    revision: int
    said: dict[str, str]


class Reading(BaseModel):
    """All that a page needs to begin, or to go on."""

    title: str
    study: str
    commitment: str
    reader: str
    finished: bool
    images: int
    side: int
    questions: list[dict[str, Any]]
    confidence: tuple[int, int]
    answers: list[Answered]


class ReaderSaid(BaseModel):
    """How far a reader is."""

    name: str
    answered: int
    images: int
    finished: bool


class ReaderList(BaseModel):
    """The readers of a study."""

    data: list[ReaderSaid]
