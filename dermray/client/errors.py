"""What a request can end with, in the service's own words."""

from typing import Any

import httpx2


class ServiceError(Exception):
    """The service refused a request, or failed on it.

    Attributes:
        status: HTTP's. param: the field that it is about. code: for programs. request_id: by which operators find it.
    """

    def __init__(self, status: int, message: str, param: str | None, code: str | None, request_id: str | None) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message, self.param, self.code, self.request_id = status, message, param, code, request_id

    @classmethod
    def of(cls, response: httpx2.Response) -> "ServiceError":
        """Of an answer of 400 and above. A proxy between may answer with text of its own."""
        try:
            told: Any = response.json()["error"]
            named = {name: told.get(name) for name in ("param", "code", "request_id")}
            return cls(response.status_code, str(told["message"]), **named)
        except (ValueError, KeyError, TypeError, AttributeError):
            text = " ".join(response.text.split())[:200] or response.reason_phrase
            return cls(response.status_code, text, None, None, response.headers.get("x-request-id"))


class Unreachable(Exception):
    """No answer came, however often it was tried."""
