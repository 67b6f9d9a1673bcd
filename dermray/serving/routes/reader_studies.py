"""/v1/reader-studies: the blinded reader study, for its page and for who runs it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from dermray.serving.errors import ApiError
from dermray.serving.reading import files
from dermray.serving.reading.book import Book, Sent
from dermray.serving.reading.register import Reader
from dermray.serving.reading.schemas import (
    Announced,
    Answered,
    AnswerRequest,
    AnswerSaid,
    FinishRequest,
    ReaderList,
    ReaderSaid,
    Reading,
    SessionRequest,
    SessionSaid,
)
from dermray.serving.reading.study import Study
from dermray.serving.routes import web
from dermray.serving.routes.shared import Served
from dermray.serving.service import Service
from dermray.serving.settings import NAME

# Nothing stays in a shared browser; and a proxy that compressed images would make sizes that tell of what they show.
KEPT_NOWHERE = {"Cache-Control": "no-store, no-transform"}
session = HTTPBearer(auto_error=False, scheme_name="ReaderSession", description="a reader's session, by a code")


async def _unstored(response: Response) -> None:
    response.headers.update(KEPT_NOWHERE)


page = APIRouter(include_in_schema=False)
read = APIRouter(tags=["reader studies"], dependencies=[Depends(_unstored)])
read_out = APIRouter(tags=["reader studies"], dependencies=[Depends(_unstored)])
StudyName = Annotated[str, Path(json_schema_extra={"pattern": NAME})]  # others are not found
Place = Annotated[int, Path(ge=1, description="of an image, in this reader's order")]


async def _token(given: Annotated[HTTPAuthorizationCredentials | None, Depends(session)]) -> str:
    if given is None:
        raise ApiError(401, "session missing: enter your code first", code="session_missing")
    return given.credentials


Token = Annotated[str, Depends(_token)]


@page.get("/reader-study/{study}")
async def document(study: StudyName, service: Served) -> Response:
    """For readers: the same for all studies, and it says itself where there is no such study."""
    found = web.said("reader.html")
    found.status_code = 200 if study in service.room.config else 404
    return found


@read.get("/reader-studies/{study}")
async def announced(study: StudyName, service: Served) -> Announced:
    """What a study is called."""
    return Announced(title=(await service.room.study(study)).about.title)


@read.post("/reader-studies/{study}/sessions", status_code=201)
async def begin(study: StudyName, asked: SessionRequest, service: Served, http: Request) -> SessionSaid:
    """Begin or go on with a reader's code. 409 where it is in use in another browser, until that is to be ended."""
    room, address = service.room, http.client.host if http.client else ""
    found = await room.study(study)
    room.tries.require(address)
    reader = await room.ask(lambda book: book.register.find(found.id, asked.code))
    if reader is None:
        room.tries.wrong(address)
        raise ApiError(
            401, "this code is not one of this study: look for a letter that is wrong, and at this page's address",
            param="code", code="invalid_code",
        )  # fmt: skip
    token = await room.ask(lambda book: book.register.begin(reader, asked.take_over))
    return SessionSaid(session=token, reader=reader.name)


@read.delete("/reader-studies/{study}/sessions", status_code=204)
async def leave(study: StudyName, service: Served, token: Token) -> None:
    """Log out: a pause. The code goes on later, anywhere."""
    found = await service.room.study(study)
    await service.room.ask(lambda book: book.register.leave(found.id, token))


@read.get("/reader-studies/{study}/reading")
async def reading(study: StudyName, service: Served, token: Token) -> Reading:
    """The questions, and what this reader answered."""
    found = await service.room.study(study)

    def look(book: Book) -> tuple[Reader, list[Answered]]:
        with book.register.session(found.id, token) as (_, reader):
            pass
        places = {image: place for place, image in enumerate(found.order(reader.seed), start=1)}
        kept = [Answered(place=places[a.image], revision=a.revision, said=a.said) for a in book.of(reader).values()]
        return reader, sorted(kept, key=lambda one: one.place)

    reader, kept = await service.room.ask(look)
    about = found.about
    return Reading(
        title=about.title, study=about.study, commitment=about.commitment, reader=reader.name,
        finished=reader.finished is not None, images=len(found.images), side=about.side, confidence=about.confidence,
        questions=[asked.model_dump() | {"text": asked.text} for asked in about.questions], answers=kept,
    )  # fmt: skip


@read.get("/reader-studies/{study}/images/{place}", response_class=Response)
async def image(study: StudyName, place: Place, service: Served, token: Token) -> Response:
    """A PNG by its place in this reader's order, which says nothing of what it is."""
    found = await service.room.study(study)
    reader = await service.room.ask(lambda book: book.register.reading(found.id, token))
    png = await service.room.image(found, _image(found, reader, place))
    return Response(png, media_type="image/png", headers=KEPT_NOWHERE)


@read.put("/reader-studies/{study}/reading/{place}")
async def answer(study: StudyName, place: Place, said: AnswerRequest, service: Served, token: Token) -> AnswerSaid:
    """Keep an answer. Sent again it is the same one; it never replaces an answer that the page does not know of."""
    found = await service.room.study(study)
    try:
        cells = found.cells(said.said)
    except ValueError as error:
        raise ApiError(400, str(error), param="said", code="no_answer") from None

    def write(book: Book) -> int:
        name = _image(found, book.register.reading(found.id, token), place)
        return book.write(found.id, token, Sent(name, place, said.replaces, said.sent_as, cells, said.seconds))

    return AnswerSaid(revision=await service.room.ask(write))


@read.post("/reader-studies/{study}/finish", status_code=204)
async def finish(study: StudyName, asked: FinishRequest, service: Served, token: Token) -> None:
    """End the reading. 409 where another number of images is answered than the reader was told."""
    found = await service.room.study(study)
    columns = [question.column for question in found.about.questions]
    await service.room.ask(lambda book: book.finish(found.id, token, asked.answered, columns))


@read_out.get("/reader-studies/{study}/readers")
async def readers(study: StudyName, service: Served) -> ReaderList:
    """How far each reader is."""
    found = await service.room.study(study)

    def look(book: Book) -> list[ReaderSaid]:
        return [_progress(book, found, reader) for reader in book.register.all(found.id)]

    return ReaderList(data=await service.room.ask(look))


@read_out.get("/reader-studies/{study}/answers/{reader}.csv", response_class=Response)
async def answers(study: StudyName, reader: StudyName, service: Served) -> Response:
    """A reader's answers, as `dermray reader-study analyse` reads them. They may not be finished."""
    found = await service.room.study(study)
    wanted = await _reader(service, found, reader)
    kept = await service.room.ask(lambda book: book.of(wanted))
    named = {"Content-Disposition": f'attachment; filename="{wanted.name}.csv"'}
    return Response(files.as_form(found, kept), media_type="text/csv; charset=utf-8", headers=KEPT_NOWHERE | named)


def _image(study: Study, reader: Reader, place: int) -> str:
    if place > len(study.images):
        message = f"image {place}: not in this study, which has {len(study.images)}"
        raise ApiError(404, message, param="place", code="unknown_image")
    return study.order(reader.seed)[place - 1]


async def _reader(service: Service, study: Study, name: str) -> Reader:
    known = await service.room.ask(lambda book: book.register.all(study.id))
    for reader in known:
        if reader.name == name:
            return reader
    there = ", ".join(reader.name for reader in known) or "none; `dermray reader-study codes` makes codes"
    raise ApiError(404, f"no such reader of this study; there are: {there}", param="reader", code="unknown_reader")


def _progress(book: Book, study: Study, reader: Reader) -> ReaderSaid:
    complete = sum(study.complete(answer.said) for answer in book.of(reader).values())
    return ReaderSaid(
        name=reader.name, answered=complete, images=len(study.images), finished=reader.finished is not None
    )
