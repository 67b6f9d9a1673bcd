"""What Serve's HTTP proxy itself answers, in the form of all other errors. `door.front` has it put into every proxy.

Without it a request whose ingress replica dies gets a 500 of plain text, which tells a client that trying again is of
no use.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermray.serving.errors import ApiError, answer

AGAIN = {"Retry-After": "5"}
TOLD = {
    404: ApiError(404, "there is no application at this path", code="not_found"),
    408: ApiError(408, "no answer within the service's request_timeout_s; ask for less at once", code="timeout"),
    429: ApiError(429, "too many requests wait; come back later", code="busy", headers=AGAIN),
    503: ApiError(503, "the service is not to be had now; try again", code="unavailable", headers=AGAIN),
}
DIED = ApiError(503, "what worked on this request died; try again", code="unavailable", headers=AGAIN)


class OneForm:
    """Around the proxy's application: its own answers are plain text, and for a dead replica it has none at all."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, told = False, None

        async def passed(message: Message) -> None:
            nonlocal started, told
            if message["type"] == "http.response.start" and message["status"] in TOLD and _plain(message):
                told = TOLD[message["status"]]
            if told is None:
                started = True
                await send(message)

        await self.app(scope, receive, passed)
        if not started:
            await answer(told or DIED)(scope, receive, send)


def _plain(start: Message) -> bool:
    """Whether an answer is Serve's own: the application's errors are JSON."""
    return any(name.lower() == b"content-type" and value.startswith(b"text/plain") for name, value in start["headers"])
