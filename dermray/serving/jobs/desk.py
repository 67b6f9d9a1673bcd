"""Where endpoints and runner meet: the ledger and the files of a service, opened when they are first needed."""

import asyncio
import logging
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from dermray.serving.errors import ApiError
from dermray.serving.jobs.files import JobFiles
from dermray.serving.jobs.ledger import Ledger
from dermray.serving.settings import Jobs

Result = TypeVar("Result")
logger = logging.getLogger("ray.serve")


class Desk:
    """The jobs of a service. A database that cannot be reached is tried again with the next question."""

    def __init__(self, config: Jobs) -> None:
        self.config = config
        self._opening = Lock()

    async def ask(self, question: Callable[[Ledger], Result]) -> Result:
        """What the ledger says, asked in a thread.

        Raises:
            ApiError: 503, the database is out of reach.
        """
        try:
            return await asyncio.to_thread(lambda: question(self.ledger))
        except (SQLAlchemyError, OSError) as error:
            logger.error("jobs: the database is out of reach: %s", type(error).__name__)  # its text may hold a password
            raise ApiError(
                503, "the store of jobs is out of reach: nothing was lost or begun; try again", code="jobs_unavailable",
                headers={"Retry-After": "5"},
            ) from error  # fmt: skip

    async def files(self) -> JobFiles:
        """Of all jobs. Raises as `ask`."""
        secret = await self.ask(lambda _: self._secret)
        return JobFiles(self._place, self.config.link_seconds, secret)

    @property
    def ledger(self) -> Ledger:
        """Blocks. Raises sqlalchemy.exc.SQLAlchemyError."""
        with self._opening:
            return self._ledger

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.config.database or f"sqlite:///{_state() / 'jobs.db'}")

    @cached_property
    def _secret(self) -> bytes:
        return self.ledger.link_secret()

    @property
    def _place(self) -> str:
        return self.config.place or str(_state() / "images")


def _state() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "dermray" / "jobs"
