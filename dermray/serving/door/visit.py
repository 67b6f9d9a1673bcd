"""A request as it is measured and logged: without its image, its prompt, its key."""

import json
import logging
import secrets
import time
from dataclasses import dataclass, field

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

from dermray.serving.door.metrics import Metrics

logger = logging.getLogger("ray.serve")


@dataclass
class Visit:
    """A request from its headers to the last byte of its answer."""

    id: str
    method: str
    echo: bool  # whether the answer's X-Request-Id is ours to set
    route: str = "other"  # the path as a rule writes it: a client's own would make a metric of every path
    key: str | None = None  # its name
    status: int | None = None
    rejected: str | None = None  # the error's code
    body_unread: bool = False
    whole: bool = False  # the last byte of the answer is out
    began: float = field(default_factory=time.monotonic)

    def answered(self, send: Send) -> Send:
        """A `send` that notes the status, and adds what every answer has."""

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if self.echo:
                    headers["X-Request-Id"] = self.id
                if self.body_unread:
                    # uvicorn then closes the socket, where it would go on reading what nobody wants
                    headers["Connection"] = "close"
            self.whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        return noting

    def end(self, metrics: Metrics) -> None:
        """One line in the log, and the metrics."""
        seconds = time.monotonic() - self.began
        status = self.status or 499  # nginx's word for a client that hung up
        metrics.request(self.route, status, seconds, self.rejected)
        line = {
            "request_id": self.id, "method": self.method, "route": self.route, "status": status,
            "seconds": round(seconds, 4), "key": self.key, "rejected": self.rejected,
        }  # fmt: skip
        # probes come every second and say nothing
        level = logging.DEBUG if self.route in ("/healthz", "/livez", "/readyz") and status == 200 else logging.INFO
        logger.log(level, json.dumps(line), extra={"log_to_stderr": False})


def new_id() -> str:
    """Of a request that has none."""
    return secrets.token_hex(16)
