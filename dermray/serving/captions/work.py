"""What an ingress asks of a captioner's replica, and what it is told."""

from dataclasses import dataclass
from typing import Any

from dermray.captioning.settings import Sampling


@dataclass(frozen=True)
class Work:
    """Images of one request, to be captioned alike."""

    images: list[bytes]  # encoded
    rows: list[dict[str, Any]]  # metadata of each, by the columns of rows
    prompt_set: str
    sampling: Sampling
    max_pixels: int  # of an image


@dataclass(frozen=True)
class How:
    """How an answer is drawn: `captioning.engine.Manner`."""

    sampling: Sampling
    schema: dict[str, Any] | None


@dataclass(frozen=True)
class Unanswered:
    """Nobody answers now, and that is no fault of the images. A value and no exception: Ray would wrap it."""

    status: int  # that the client is told: 502 or 503
    reason: str


@dataclass(frozen=True)
class Captioned:
    """The rows of a request, by the columns of `records.CAPTIONED`, and whose they are."""

    rows: list[dict[str, Any]]
    captioner: str  # as rows of the caption stage name it
    revision: str | None
