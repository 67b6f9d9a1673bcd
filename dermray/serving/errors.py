"""Errors in OpenAI's form, which its clients read: `{"error": {"message", "type", "param", "code", "request_id"}}`."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)  # of the request at work, set by the door


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    request_id: str | None = None


class ErrorResponse(BaseModel):
    """The body of every answer of 400 and above."""

    error: ErrorBody


class ApiError(Exception):
    """An answer of 400 and above.

    Args:
        message: what was got, what is expected and what to do. param: the field that it is about. code: for programs.
    """

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers or {}


def answer(error: ApiError) -> JSONResponse:
    """As clients get it."""
    kind = TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    body = ErrorBody(
        message=error.message, type=kind, param=error.param, code=error.code, request_id=REQUEST_ID.get()
    )  # fmt: skip
    return JSONResponse({"error": body.model_dump()}, error.status, dict(error.headers))


def fault() -> ApiError:
    """Ours, not the client's: its traceback is in the replica's log, and tells clients nothing."""
    return ApiError(500, "the service failed on this request; its operator's log says why", code="fault")


def handle_errors(app: FastAPI) -> None:
    """Every error that an endpoint raises is answered in this form; what is left is a fault, which the door answers."""
    app.add_exception_handler(ApiError, lambda _, error: answer(error))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _plain)


async def _invalid(_: Request, error: Any) -> JSONResponse:
    """A body that does not fit: the first fault, by its place, and never the input itself."""
    first = error.errors()[0]
    # names of a client's own making are cut: a place may hold the name of a field that is not known
    parts = [str(part)[:80] for part in first["loc"] if part not in ("body", "query", "path", "header")]
    place = ".".join(parts).encode(errors="replace").decode()
    where = f"{place}: " if place else ""
    said = first["msg"].removeprefix("Value error, ")  # pydantic's, before a message of ours
    return answer(ApiError(400, f"{where}{said}", param=place or None, code="invalid_value"))


async def _plain(_: Request, error: Any) -> JSONResponse:
    assert isinstance(error, HTTPException | StarletteHTTPException)
    return answer(ApiError(error.status_code, str(error.detail), headers=error.headers))
