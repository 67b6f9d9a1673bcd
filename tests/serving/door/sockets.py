"""Raw sockets: what no HTTP client would send, or would send that slowly."""

import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.serving.conftest import Live


@dataclass
class Raw:
    """An answer as it came over the wire; status 0: the socket was closed without one."""

    status: int
    head: str
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        """In the one form that errors have."""
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert error["request_id"] and "Traceback" not in error["message"]
        assert f"x-request-id: {error['request_id']}" in self.head.lower()
        return error


def connect(live: Live) -> socket.socket:
    """A socket with 20 s of patience."""
    address = urlsplit(live.url)
    return socket.create_connection((address.hostname, address.port), timeout=20)


def head(
    live: Live, *lines: str, path: str = "/v1/images/generations", method: str = "POST", key: bool = True
) -> bytes:
    """A request's headers."""
    start = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(live.url).netloc}"]
    if key:
        start.append(f"Authorization: Bearer {live.key}")
    return "\r\n".join([*start, *lines, "", ""]).encode("latin-1")


def answer(open_socket: socket.socket) -> Raw:
    """The next answer on a socket."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            if not (got := open_socket.recv(65536)):
                return Raw(0, "", data)
            data += got
        start, _, body = data.partition(b"\r\n\r\n")
        lengths = [
            int(line.split(b":")[1]) for line in start.lower().split(b"\r\n") if line.startswith(b"content-length")
        ]
        while lengths and len(body) < lengths[0] and (got := open_socket.recv(65536)):
            body += got
    except ConnectionError:
        return Raw(0, "", data)
    return Raw(int(start.split(b" ")[1]), start.decode("latin-1"), body)


def say(live: Live, data: bytes) -> Raw:
    """One request as bytes, and its answer."""
    with connect(live) as opened:
        opened.sendall(data)
        return answer(opened)
