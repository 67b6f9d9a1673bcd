"""The one layer inside Serve's proxy: headers that the proxy itself reads, and an end to what it reads ahead.

Serve answers 500 where those are no UTF-8, and lets any client set a request's time limit, turn off that its work ends
when it hangs up, and choose a replica. It takes a body from the socket as fast as that gives, however much the replica
has had of it. Serve loads this by the environment of its nodes:
`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=dermray.serving.door.front.middlewares`.
"""

import asyncio
import os

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermray.serving.at_proxy import OneForm
from dermray.serving.door.headers import sane_id
from dermray.serving.settings import Limits

VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
PATH = "dermray.serving.door.front.middlewares"
MOST_VARIABLE = "DERMRAY_BODY_BYTES"  # of nodes whose service has a larger limits.body_bytes than the default
BODIES = 8  # of the largest size, that one proxy reads at once; a replica lets one key hold half of that
SERVES_OWN = {
    b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"serve-multiplexed-model-id", b"x-session-id",
    b"session-id", b"serve-session-id",
}  # fmt: skip


class Front:
    """Takes Serve's own headers away from requests, and request ids that logs cannot hold: Serve then makes one.

    Args:
        most: bytes of a body, from which no more are read; at least what replicas accept, whose answer is then due.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most
        self.held = 0  # bytes of bodies whose answer is not out: Serve's queues grow with them, in proxy and replica
        self.freed = asyncio.Condition()
        self.readers: dict[object, None] = {}  # in the order in which they came

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if "headers" in scope:
            scope["headers"] = [(name, value) for name, value in scope["headers"] if _harmless(name, value)]
        taken, me = 0, object()
        self.readers[me] = None

        def my_turn() -> bool:
            # the first of them always goes on, or all could wait for each other
            return self.held < BODIES * self.most or next(iter(self.readers)) is me

        async def some() -> Message:
            nonlocal taken
            # while this waits, uvicorn reads no more of the socket
            if taken > self.most:
                await asyncio.Event().wait()  # Serve ends this with the replica's answer, a 413
            if taken:  # a body of one piece never waits for others
                async with self.freed:
                    await self.freed.wait_for(my_turn)
            message = await receive()
            size = len(message.get("body", b""))
            taken += size
            self.held += size
            return message

        try:
            await self.app(scope, some, send)
        finally:
            self.held -= taken
            del self.readers[me]
            async with self.freed:
                self.freed.notify_all()


def _harmless(name: bytes, value: bytes) -> bool:
    known = name.lower().replace(b"_", b"-")
    return known not in SERVES_OWN and (known != b"x-request-id" or sane_id(value) is not None)


def middlewares() -> list[Middleware]:
    """What Serve's proxy asks for, the outermost first."""
    return [Middleware(OneForm), Middleware(Front, most=int(os.environ.get(MOST_VARIABLE, Limits().body_bytes)))]


def install(body_bytes: int) -> None:
    """For a Ray that is started from here: its processes have this environment."""
    os.environ.setdefault(VARIABLE, PATH)
    os.environ[MOST_VARIABLE] = str(body_bytes)
