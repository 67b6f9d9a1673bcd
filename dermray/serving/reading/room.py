"""Where pages and database meet: the studies of a service, and what may go wrong with each word of a reader."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from dermray.serving.errors import ApiError
from dermray.serving.jobs.desk import Desk
from dermray.serving.reading.book import Book, Finished, Miscounted, Stale
from dermray.serving.reading.register import LEFT, RENEWED, TAKEN, Elsewhere, Ended, Register
from dermray.serving.reading.study import Study, opened
from dermray.serving.reading.tries import Tries
from dermray.serving.settings import ReaderStudy

Result = TypeVar("Result")
WHY = {
    TAKEN: "this code is now in use in another browser, and this one was ended",
    LEFT: "you have logged out",
    RENEWED: "your code was replaced by a new one",
}
logger = logging.getLogger("ray.serve")


class Room:
    """The reader studies of a service, of one ingress replica."""

    def __init__(self, config: Sequence[ReaderStudy], desk: Desk) -> None:
        self.config, self.desk, self.tries = {one.name: one for one in config}, desk, Tries()
        self._studies = dict[str, Study]()

    async def study(self, name: str) -> Study:
        """A study by its name.

        Raises:
            ApiError: 404, there is none; 503, its files are out of reach.
        """
        if name not in self.config:
            raise ApiError(404, "no such reader study: look at the address that you were given", code="unknown_study")
        if name not in self._studies:
            try:
                self._studies[name] = await asyncio.to_thread(opened, name, self.config[name].study)
            except (OSError, ValueError) as error:
                raise self.unavailable(name, error) from None
        return self._studies[name]

    async def image(self, study: Study, name: str) -> bytes:
        """A PNG; raises `ApiError` 503 where it is out of reach, such as after the study was moved."""
        try:
            return await asyncio.to_thread(study.image, name)
        except OSError as error:
            raise self.unavailable(study.name, error) from None

    def unavailable(self, name: str, error: Exception) -> ApiError:
        """What readers are told; where it lies stays in the log."""
        logger.error("reader study %s: its files are out of reach: %s", name, error)
        return ApiError(
            503, "the images of this study are out of reach: answers that were saved are kept; try again, or tell who "
            "runs the study", code="study_unavailable", headers={"Retry-After": "5"},
        )  # fmt: skip

    async def ask(self, question: Callable[[Book], Result]) -> Result:
        """What the book says, asked in a thread.

        Raises:
            ApiError: 401, the session is over; 409, it does not fit what is there; 503, the database is out of reach.
        """
        try:
            return await asyncio.to_thread(lambda: question(self.book))
        except (Ended, Elsewhere, Finished, Stale, Miscounted) as error:
            raise _told(error) from None
        except (SQLAlchemyError, OSError) as error:
            logger.error("reader studies: the database is out of reach: %s", type(error).__name__)
            raise ApiError(
                503, "the store of answers is out of reach: what was saved before is kept, and this was not saved; try "
                "again", code="answers_unavailable", headers={"Retry-After": "5"},
            ) from error  # fmt: skip

    @property
    def book(self) -> Book:
        """Blocks. Raises sqlalchemy.exc.SQLAlchemyError, OSError."""
        return Book(Register(self.desk.ledger.engine))


def _told(error: Exception) -> ApiError:
    if isinstance(error, Ended):
        why = WHY.get(error.why or "", "this session is over")
        return ApiError(401, f"{why}: enter your code to go on", code="session_ended")
    if isinstance(error, Elsewhere):
        return ApiError(
            409, "this code is in use in another browser, which was last heard of "
            f"{_ago(error.seconds)} ago: only one can go on", "take_over", "code_in_use",
        )  # fmt: skip
    if isinstance(error, Stale):
        message = "another answer to this image was saved after the one that this page knows: it is kept, look at it"
        return ApiError(409, message, "replaces", "newer_answer")
    if isinstance(error, Miscounted):
        message = f"{error.answered} images are answered, which is not what this page shows: look again"
        return ApiError(409, message, "answered", "miscounted")
    return ApiError(409, "this reading is finished: its answers cannot be changed any more", code="finished")


def _ago(seconds: float) -> str:
    for unit, long in (("hour", 3600), ("minute", 60)):
        if seconds >= long:
            return f"{seconds // long:.0f} {unit}{'s' if seconds >= 2 * long else ''}"
    return "less than a minute"
