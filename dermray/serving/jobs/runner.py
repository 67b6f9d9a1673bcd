"""What works on jobs, in each ingress replica: claims one, draws what is missing of it, and says so as it goes."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from dermray.records import sample_id
from dermray.serving.errors import ApiError
from dermray.serving.generation import Drawing, Drawn
from dermray.serving.jobs.desk import Desk
from dermray.serving.jobs.ledger import Job, JobImage, Lost

HELD = 30.0  # seconds that a job is another's to take after its runner was last heard of
RENEWED = 1.0  # seconds between two words of a runner: how soon a cancelled job stops, too
LOOKS = 1.0  # seconds between two looks for work
PAUSE = 5.0  # seconds after a failure that is not the job's own
SWEEPS = 3600.0  # seconds between two looks for jobs whose time is over
TRIES = (
    5  # in a row without a new image, before a job that finds no replica alive has failed: it may be what kills them
)
REPLACED = {
    "message": "the model has other weights now than when this was asked for, and images of two models do not belong "
    "together: ask again", "code": "model_replaced",
}  # fmt: skip

HandleOf = Callable[[str], Awaitable[Any]]
logger = logging.getLogger("ray.serve")


class Runner:
    """Works as long as `running` is entered.

    Args:
        models: names of the generators. handle_of: what draws for a job, by its model; with an adapter perhaps. Raises
            `ApiError` where it is served no longer.
    """

    def __init__(self, desk: Desk, models: Sequence[str], handle_of: HandleOf) -> None:
        self.desk, self.models, self.handle_of = desk, models, handle_of
        self.name = secrets.token_urlsafe(9)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """In the background. What is under way at the end is left to other runners."""
        numbers = range(self.desk.config.at_once) if self.models else ()
        tasks = [asyncio.create_task(self._work_on(number)) for number in numbers]
        tasks += [asyncio.create_task(self._sweep())] if self.models else []
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work_on(self, number: int) -> None:
        """One job after the other."""
        holder = f"{self.name}-{number}"
        try:
            while True:
                try:
                    job = await self.desk.ask(lambda ledger: ledger.claim(holder, self.models, HELD))
                    if job:
                        await _Work(self.desk, self.handle_of, job, holder).done()
                    else:
                        await asyncio.sleep(LOOKS)
                except ApiError:  # the database or the images' place; what was under way is still ours, or free in HELD
                    await asyncio.sleep(PAUSE)
        finally:
            with suppress(ApiError):
                await self.desk.ask(lambda ledger: ledger.let_go(holder))

    async def _sweep(self) -> None:
        while True:
            try:
                await self._remove_old()
            except Exception:
                logger.exception("jobs: old ones were not removed")
            await asyncio.sleep(SWEEPS)

    async def _remove_old(self) -> None:
        seconds = self.desk.config.days * 86_400
        files = await self.desk.files()
        for identity in await self.desk.ask(lambda ledger: ledger.older_than(seconds)):
            await asyncio.to_thread(files.remove, identity)
            await self.desk.ask(lambda ledger, old=identity: ledger.remove(old))  # type: ignore[misc]


class _Work:
    """One job in the hands of one runner."""

    def __init__(self, desk: Desk, handle_of: HandleOf, job: Job, holder: str) -> None:
        self.desk, self.handle_of, self.job, self.holder = desk, handle_of, job, holder
        self.steps = 0  # taken, of all images

    async def done(self) -> None:
        """Draw, unless it is cancelled or lost meanwhile.

        Raises:
            ApiError: 503, the database is out of reach.
        """
        drawing = asyncio.create_task(self._draw_all())
        try:
            while not drawing.done():
                await asyncio.wait({drawing}, timeout=RENEWED)
                await self.desk.ask(lambda ledger: ledger.renew(self.job.id, self.holder, HELD, self.steps))
            error = drawing.result()
            await self.desk.ask(lambda ledger: ledger.finish(self.job.id, self.holder, error))
        except Lost:
            pass
        finally:
            drawing.cancel()  # its images leave the replica before its next step
            await asyncio.gather(drawing, return_exceptions=True)

    async def _draw_all(self) -> dict[str, Any] | None:
        """What is missing, until it is there; else what is wrong."""
        tries = 0
        while True:
            before = await self._there()
            try:
                self.handle = await self.handle_of(self.job.model)
                if (await self.handle.about.remote())["version"] != self.job.said["version"]:
                    return REPLACED
                await self._draw_missing(before)
                return None
            except Lost:
                raise
            except ApiError as error:
                if error.status < 500:
                    return {"message": error.message, "param": error.param, "code": error.code}
                told = {"message": f"{error.message}: tried {TRIES} times", "code": error.code}
            except OSError as error:  # where images lie; it may hold a path, which is no client's business
                logger.error("job %s: %s", self.job.id, error)
                told = {"message": f"images cannot be kept: tried {TRIES} times", "code": "images_unavailable"}
            except Exception:
                logger.exception("job %s: fault", self.job.id)
                return {"message": "the service failed on this job; its operator's log says why", "code": "fault"}
            tries = 1 if await self._there() != before else tries + 1
            if tries >= TRIES:
                return told
            await asyncio.sleep(PAUSE)

    async def _there(self) -> set[int]:
        images = await self.desk.ask(lambda ledger: ledger.images_of(self.job.id))
        return {image.place for image in images}

    async def _draw_missing(self, there: set[int]) -> None:
        seeds, each = self.job.drawing["seeds"], self.job.drawing["steps"]
        missing = [place for place in range(len(seeds)) if place not in there]
        for start in range(0, len(missing), self.desk.config.images_at_once):
            places = missing[start : start + self.desk.config.images_at_once]
            self.steps = before = (len(seeds) - len(missing) + start) * each
            part = {seeds[place]: place for place in places}
            drawing = Drawing(**self.job.drawing | {"seeds": list(part), "client": self.job.owner})
            async for told in self.handle.stream("draw_stepwise", drawing):
                if isinstance(told, Drawn):
                    await self._keep(part[told.seed], told)
                else:
                    self.steps = before + told

    async def _keep(self, place: int, drawn: Drawn) -> None:
        """The image first, and then that it is there."""
        files = await self.desk.files()
        if drawn.png is not None:
            await asyncio.to_thread(files.write, self.job.id, place, drawn.png)
        sample = sample_id(drawn.png) if drawn.png is not None else None
        image = JobImage(place, drawn.seed, sample, drawn.distance)
        await self.desk.ask(lambda ledger: ledger.add_image(self.job.id, self.holder, image))
