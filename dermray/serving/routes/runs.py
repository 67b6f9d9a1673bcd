"""/v1/runs: finished runs that the service shows, and their pages."""

import asyncio
from typing import Annotated

from botocore.exceptions import BotoCoreError, ClientError
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from dermray import manifest, storage
from dermray.serving.errors import ApiError
from dermray.serving.jobs.files import BadLink
from dermray.serving.reports import listing
from dermray.serving.reports.headlines import headlines
from dermray.serving.reports.links import Links
from dermray.serving.routes.shared import Served
from dermray.serving.service import Service

router = APIRouter(tags=["runs"])
opened = APIRouter(tags=["runs"])  # needs no key: the link is signed
Word = Annotated[str, Path(json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"})]  # others are not found
# A page may run nothing, ask nobody and be framed by nobody; it is a stranger to the page at / and never sees its key.
POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "Cache-Control": "private, no-store"}
UNREADABLE = "its manifest cannot be read: it is damaged, or of another version of dermray"


class FileSaid(BaseModel):
    """A page, a picture or figures."""

    name: str
    url: str = Field(description="works without a key, for a while; relative to the service's address")


class StageSaid(BaseModel):
    """A finished stage."""

    stage: str
    key: str | None = None
    finished: int | None = Field(None, description="Unix seconds")
    rows: manifest.Rows | None = None
    headlines: list[str] = []
    files: list[FileSaid] = []
    error: str | None = None


class RunSaid(BaseModel):
    """A run, or a single stage's result."""

    name: str
    files: list[FileSaid] = []
    stages: list[StageSaid] = []
    error: str | None = None


class RunList(BaseModel):
    """All runs that the service's config names."""

    object: str = "list"
    data: list[RunSaid]


@router.get("/runs", response_model_exclude_none=True)
async def runs(service: Served) -> RunList:
    """Finished runs: their stages, and links to the pages that these left."""
    links = await _links(service)
    found = listing.names(service.config.runs)
    return RunList(data=[await asyncio.to_thread(_run, name, uri, links) for name, uri in found.items()])


@opened.get("/runs/{run}/{part}/{file}", response_class=Response)
async def file(run: Word, part: Word, file: Word, service: Served, expires: str = "", signature: str = "") -> Response:
    """A page, a picture or figures, by a link of the list. A page may run no script."""
    try:
        (await _links(service)).check((run, part, file), expires, signature)
        found, kind = await asyncio.to_thread(listing.read, listing.names(service.config.runs)[run], part, file)
    except BadLink as error:
        raise ApiError(403, str(error), code="bad_link") from None
    except (KeyError, FileNotFoundError, NotADirectoryError):
        raise ApiError(404, "no such file: GET /v1/runs lists those that there are", code="not_found") from None
    return Response(found, media_type=kind, headers=HEADERS)


async def _links(service: Service) -> Links:
    files = await service.desk.files()  # of jobs: theirs is the secret that all replicas know
    return Links(files.secret, files.seconds)


def _run(name: str, uri: str, links: Links) -> RunSaid:
    try:
        if not storage.exists(uri):
            return RunSaid(name=name, error="not there any more")
        stages = [_stage(name, uri, part, links) for part in listing.parts(uri)]
        return RunSaid(name=name, files=_files(name, uri, None, links), stages=stages)
    except (OSError, BotoCoreError, ClientError) as error:
        return RunSaid(name=name, error=f"out of reach: {type(error).__name__}")


def _stage(run: str, uri: str, part: listing.Part, links: Links) -> StageSaid:
    if part.result is None:
        return StageSaid(stage=part.name.removeprefix(listing.STAGE), error=UNREADABLE)
    about = part.result.manifest
    return StageSaid(
        stage=about.stage, key=about.key, finished=int(about.started + about.seconds), rows=about.rows,
        headlines=headlines(about), files=_files(run, uri, part, links),
    )  # fmt: skip


def _files(run: str, uri: str, part: listing.Part | None, links: Links) -> list[FileSaid]:
    where = listing.RUN if part is None else part.name
    return [FileSaid(name=name, url=links.to(run, where, name)) for name in listing.files(uri, part)]
