"""/v1/jobs: images that take longer than a request may."""

import asyncio
import contextlib
import dataclasses
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from sse_starlette import EventSourceResponse

from dermray.serving.errors import ApiError
from dermray.serving.job_schemas import JobError, JobImageSaid, JobList, JobRequest, JobSaid
from dermray.serving.jobs.files import BadLink, JobFiles
from dermray.serving.jobs.ledger import Job, JobImage
from dermray.serving.routes.settled import settled
from dermray.serving.routes.shared import Asker, Served
from dermray.serving.service import Service

router = APIRouter(tags=["jobs"])
fetched = APIRouter(tags=["jobs"])  # needs no key: the link is signed
JobId = Annotated[str, Path(json_schema_extra={"pattern": "^[A-Za-z0-9_-]{24}$"})]  # others are not found
Repeat = Annotated[
    str | None, Header(alias="Idempotency-Key", max_length=64, description="asked again with the same, it is one job")
]
LISTED = 100
EVENTS = 0.5  # seconds between two looks for news
QUESTION = "question"  # its hash: a repeat of another question is a mistake


@router.post("/jobs", status_code=202, response_model_exclude_none=True)
async def submit(
    request: JobRequest, service: Served, key: Asker, http: Request, response: Response, repeat_of: Repeat = None
) -> JobSaid:
    """Take on work. It goes on whatever dies; GET it, listen to its events, or DELETE it."""
    limits, desk = service.config.jobs, service.desk
    question = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    if repeat_of and (known := await desk.ask(lambda ledger: ledger.repeated(key.name, repeat_of))):
        _require_same(known, question)
        response.headers["Location"] = f"/v1/jobs/{known.id}"
        return await _told(service, known.id, key.name, http)  # it counted among the quotas when it was new
    if await desk.ask(lambda ledger: ledger.unfinished(key.name)) >= limits.unfinished:
        raise ApiError(
            429, f"this key has {limits.unfinished} unfinished jobs: wait for one, or cancel one", code="too_many_jobs",
            headers={"Retry-After": "30"},
        )  # fmt: skip
    asked = await settled(request, service, key, limits.images)
    drawing = dataclasses.asdict(asked.drawing)
    drawing.pop("client")
    said = {
        "version": asked.version, "licence": asked.licence, "size": f"{drawing['size']}x{drawing['size']}",
        "warnings": asked.reading.warnings, "unknown_words": asked.reading.unknown_words, QUESTION: question,
    }  # fmt: skip
    identity = await desk.ask(lambda ledger: ledger.add(key.name, repeat_of, asked.model.name, drawing, said))
    response.headers["Location"] = f"/v1/jobs/{identity}"
    return await _told(service, identity, key.name, http)


@router.get("/jobs", response_model_exclude_none=True)
async def newest(service: Served, key: Asker) -> JobList:
    """This key's newest jobs, a hundred at most."""
    jobs = await service.desk.ask(lambda ledger: ledger.newest(key.name, LISTED))
    return JobList(data=[_said(job, []) for job in jobs])


@router.get("/jobs/{job}", response_model_exclude_none=True)
async def one_job(job: JobId, service: Served, key: Asker, http: Request) -> JobSaid:
    """How far it is, with links to the images that are there."""
    return await _told(service, job, key.name, http)


@router.get("/jobs/{job}/events", response_class=EventSourceResponse)
async def events(job: JobId, service: Served, key: Asker) -> EventSourceResponse:
    """Server-sent events: `progress` whenever something changed, and at last `succeeded`, `failed` or `cancelled`.

    A connection that breaks is opened again: the first event says how far the job is.
    """
    await _job(service, job, key.name)
    if service.listeners[key.name] >= service.config.jobs.streams:
        raise ApiError(
            429, f"this key listens to {service.config.jobs.streams} streams of events already: close one, or GET the "
            "job now and then", code="too_many_streams", headers={"Retry-After": "5"},
        )  # fmt: skip
    return EventSourceResponse(_counted(service, job, key.name))


@router.delete("/jobs/{job}", response_model_exclude_none=True)
async def cancel(job: JobId, service: Served, key: Asker, http: Request) -> JobSaid:
    """Cancel it: drawing ends before the next step, and images that are there stay. 409 where it is over already."""
    if not await service.desk.ask(lambda ledger: ledger.cancel(job, key.name)):
        over = await _job(service, job, key.name)
        raise ApiError(409, f"this job has {_ended(over)} already: there is nothing to cancel", code="job_over")
    return await _told(service, job, key.name, http)


@router.get("/jobs/{job}/images/{place}/png", response_class=Response)
async def own_image(job: JobId, place: int, service: Served, key: Asker) -> Response:
    """A PNG, by the key whose job it is: for web pages, which may read no file of S3's from another host."""
    await _job(service, job, key.name)
    return await _png(service, job, place, "no-store")  # a browser's cache asks for no key


@fetched.get("/jobs/{job}/images/{place}", response_class=Response)
async def image(job: JobId, place: int, service: Served, expires: str = "", signature: str = "") -> Response:
    """A PNG, by a link of an answer."""
    files = await service.desk.files()
    try:
        files.check(job, place, expires, signature)
    except BadLink as error:
        raise ApiError(403, str(error), code="bad_link") from None
    left = int(expires) - int(time.time())
    return await _png(service, job, place, f"max-age={left}")  # no longer than the link


async def _png(service: Service, job: str, place: int, cached: str) -> Response:
    files = await service.desk.files()
    try:
        found = await asyncio.to_thread(files.read, job, place)
    except FileNotFoundError:
        raise ApiError(404, "this image is not kept any more", code="image_not_found") from None
    return Response(found, media_type="image/png", headers={"Cache-Control": f"private, {cached}"})


async def _job(service: Service, identity: str, owner: str) -> Job:
    job = await service.desk.ask(lambda ledger: ledger.get(identity, owner))
    if job is None:  # another key's is none, too: nobody is told of it
        raise ApiError(404, "no such job of this key, or its time is over", code="job_not_found")
    return job


async def _told(service: Service, identity: str, owner: str, http: Request) -> JobSaid:
    job = await _job(service, identity, owner)
    images = await service.desk.ask(lambda ledger: ledger.images_of(identity))
    files = await service.desk.files()
    base = (service.config.kept_images.public_url or str(http.base_url)).rstrip("/")
    return await asyncio.to_thread(_said, job, images, files, base)


def _said(job: Job, images: list[JobImage], files: JobFiles | None = None, base_url: str = "") -> JobSaid:
    there = [
        JobImageSaid(
            index=image.place, seed=image.seed, sample_id=image.sample_id, gate_distance=image.gate_distance,
            url=files.link(job.id, image.place, base_url),
        )
        for image in images if files is not None and image.sample_id is not None
    ]  # fmt: skip
    refused = [{"seed": i.seed, "gate_distance": i.gate_distance or 0.0} for i in images if i.sample_id is None]
    done: dict[str, Any] = {"images_done": job.steps_done // job.drawing["steps"] if files is None else len(images)}
    said = {name: value for name, value in job.said.items() if name != QUESTION}
    return JobSaid(
        id=job.id, status=job.status, created=int(job.created), changed=int(job.changed), model=job.model,
        images=job.images, steps=job.steps, steps_done=job.steps_done, refused=refused, data=there,
        error=JobError(**job.error) if job.error else None, **done | said,
    )  # fmt: skip


async def _counted(service: Service, identity: str, owner: str) -> AsyncIterator[dict[str, str]]:
    service.listeners[owner] += 1
    try:
        async with contextlib.aclosing(_news(service, identity, owner)) as news:
            async for event in news:
                yield event
    finally:
        service.listeners[owner] -= 1


async def _news(service: Service, identity: str, owner: str) -> AsyncGenerator[dict[str, str]]:
    told = None
    while True:
        job = await _job(service, identity, owner)
        said = _said(job, []).model_copy(update={"changed": 0})
        if said != told:
            told = said
            text = said.model_copy(update={"changed": int(job.changed)}).model_dump_json(exclude={"data", "refused"})
            yield {"event": job.status if job.finished else "progress", "data": text}
        if job.finished:
            return
        await asyncio.sleep(EVENTS)


def _require_same(known: Job, question: str) -> None:
    if known.said.get(QUESTION) != question:
        raise ApiError(
            409, f"this Idempotency-Key was sent with another question (job {known.id}): send a new one with each new "
            "question", code="idempotency_key_reused",
        )  # fmt: skip


def _ended(job: Job) -> str:
    return "been cancelled" if job.status == "cancelled" else job.status
