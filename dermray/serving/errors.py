"""Errors in OpenAI's form, which its clients read: `{"error": {"message", "type", "param", "code"}}`."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


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
    body = ErrorResponse(error=ErrorBody(message=error.message, type=kind, param=error.param, code=error.code))
    return JSONResponse(body.model_dump(), error.status, dict(error.headers))


def handle_errors(app: FastAPI) -> None:
    """Every error that an endpoint raises is answered in this form."""
    app.add_exception_handler(ApiError, lambda _, error: answer(error))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StarletteHTTPException, _plain)
    app.add_exception_handler(Exception, _fault)


async def _invalid(_: Request, error: Any) -> JSONResponse:
    """A body that does not fit: the first fault, by its place, and never the input itself."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path", "header"))
    where = f"{place}: " if place else ""
    return answer(ApiError(400, f"{where}{first['msg']}", param=place or None, code="invalid_value"))


async def _plain(_: Request, error: Any) -> JSONResponse:
    assert isinstance(error, HTTPException | StarletteHTTPException)
    return answer(ApiError(error.status_code, str(error.detail), headers=error.headers))


async def _fault(_: Request, error: Exception) -> JSONResponse:
    """A fault of ours: its traceback is in the replica's log, and tells clients nothing."""
    return answer(ApiError(500, "the service failed on this request; its operator's log says why", code="fault"))
