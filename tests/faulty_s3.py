"""A proxy before the S3 server of the tests: it fails, refuses, is slow, is out, has a clock of its own, ignores
conditions, kills clients, and counts what it is asked."""

import contextlib
import email.utils
import http.client
import os
import random
import re
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import psutil

LARGEST_SKEW = 900.0  # seconds between the clocks of client and server, as S3 has it
OF_A_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "date", "server"}
CONDITIONS = {"if-match", "if-none-match"}


@dataclass(frozen=True)
class Refusal:
    """An error answer of S3's."""

    status: int
    code: str
    message: str

    @property
    def body(self) -> bytes:
        """As S3 writes it."""
        told = f"<Code>{self.code}</Code><Message>{self.message}</Message>"
        return f"<?xml version='1.0'?><Error>{told}</Error>".encode()


SLOW_DOWN = Refusal(503, "SlowDown", "Reduce your rate.")
INTERNAL_ERROR = Refusal(500, "InternalError", "We encountered an internal error. Please try again.")
FULL = Refusal(507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")
SKEWED = Refusal(403, "RequestTimeTooSkewed", "The difference between the clocks is too large.")


class FaultyS3(ThreadingHTTPServer):
    """The proxy. Its faults are attributes, which may be changed at any time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(server).netloc
        self.share_of_errors = 0.0  # of requests that are answered with `error`
        self.error = SLOW_DOWN
        self.share_lost = 0.0  # of requests that are done, and whose connections then end without an answer
        self.refuses: Callable[[str, str], Refusal | None] = lambda kind, key: None  # of a request's kind and key
        self.resets = False  # connections, where others end without an answer
        self.clock_ahead = 0.0  # seconds that its clock is ahead of this machine's
        self.heeds_conditions = True  # else it writes whatever If-Match and If-None-Match say
        self.cuts = 0  # answers to GetObject, from now on, that end in mid-body
        self.latency = 0.0  # seconds that every answer takes longer
        self.out_until = 0.0  # monotonic seconds: until then connections end without an answer
        self.answered: Callable[[str, str, int], Any] | None = None  # of a request's kind and key, client's port
        self.requests: Counter[tuple[str, str]] = Counter()  # by kind and by key without its numbers
        self.failed, self.unanswered = 0, 0
        self.dice = random.Random(0)
        self.counting = threading.Lock()

    @property
    def upstream_url(self) -> str:
        """The server behind it."""
        return f"http://{self.upstream}"

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def total(self) -> int:
        """Requests answered."""
        return self.requests.total()

    def out(self, seconds: float) -> None:
        """Be out of reach from now on for so long."""
        self.out_until = time.monotonic() + seconds

    def outage(self, seconds: float, after: Callable[[], bool]) -> threading.Thread:
        """Be out for so long as soon as `after` says so."""

        def wait() -> None:
            while not after():
                time.sleep(0.05)
            self.out(seconds)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread

    def closed(self, seconds: float) -> None:
        """Refuse connections for so long, and end those that there are; returns afterwards."""
        self.out(seconds)
        self.shutdown()
        self.socket.close()
        time.sleep(seconds)
        self.socket = socket.socket(self.address_family, self.socket_type)
        self.server_bind()
        self.server_activate()
        serve(self)

    def loses(self) -> bool:
        """Whether this answer is one of those that are lost."""
        with self.counting:
            lost = self.dice.random() < self.share_lost
            self.unanswered += lost
            return lost

    def fails(self) -> bool:
        """Whether this request is one of those that are refused."""
        with self.counting:
            refused = self.dice.random() < self.share_of_errors
            self.failed += refused
            return refused

    def cut(self, kind: str, data: bytes) -> bool:
        """Whether this answer ends in mid-body."""
        with self.counting:
            ends = kind == "GetObject" and len(data) > 1 and self.cuts > 0
            self.cuts -= ends
            return ends

    def count(self, kind: str, key: str) -> None:
        """Note a request."""
        with self.counting:
            self.requests[kind, re.sub(r"[0-9a-f]{6,}|\d+", "#", key)] += 1

    def handle_error(self, *_: Any) -> None:
        """Clients are killed here; that is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyS3
    upstream: http.client.HTTPConnection | None = None

    def handle_one_request(self) -> None:
        super().handle_one_request()
        if self.close_connection and self.upstream is not None:
            self.upstream.close()

    def answer(self) -> None:
        kind, key = kind_of(self.command, self.path, dict(self.headers.items()))
        body = self._body()
        if time.monotonic() < self.server.out_until:
            self.server.unanswered += 1
            self._hang_up()
            return
        if self.server.latency:
            time.sleep(self.server.latency)
        self.server.count(kind, key)
        if refusal := self._refusal(kind, key):
            told = {"Content-Type": "application/xml", "Date": email.utils.formatdate(self._now(), usegmt=True)}
            self._send(refusal.status, told, refusal.body)
            return
        status, headers, data = self._asked(body)
        if self.server.answered is not None and status < 300:
            self.server.answered(kind, key, self.client_address[1])
        if self.server.loses():
            self._hang_up()
            return
        self._send(status, headers, data, kind)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

    def _refusal(self, kind: str, key: str) -> Refusal | None:
        if self.server.fails():
            return self.server.error
        if self.server.clock_ahead and (signed := self.headers.get("X-Amz-Date")):
            at = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
            if abs(self._now() - at) > LARGEST_SKEW:
                return SKEWED
        return self.server.refuses(kind, key)

    def _now(self) -> float:
        return time.time() + self.server.clock_ahead

    def _hang_up(self) -> None:
        if self.server.resets:  # nothing lingers: the other end is told that the connection is no more
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _asked(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self.upstream is None:
            self.upstream = http.client.HTTPConnection(self.server.upstream, timeout=60)
        left_out = OF_A_CONNECTION if self.server.heeds_conditions else OF_A_CONNECTION | CONDITIONS
        headers = {k: v for k, v in self.headers.items() if k.lower() not in left_out}
        for attempt in range(2):  # the server may have closed a connection that was kept
            try:
                self.upstream.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
                answer = self.upstream.getresponse()
                break
            except (http.client.RemoteDisconnected, ConnectionError):
                self.upstream.close()
                if attempt:
                    raise
        data = answer.read()
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in OF_A_CONNECTION - {"date"}}
        if self.command == "HEAD" and (length := answer.getheader("Content-Length")):
            kept["Content-Length"] = length
        return answer.status, kept, data

    def _send(self, status: int, headers: dict[str, str], data: bytes, kind: str = "") -> None:
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.server.cut(kind, data):
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def kind_of(method: str, path: str, headers: dict[str, str]) -> tuple[str, str]:
    """S3's name of an operation, and the key or prefix that it is about."""
    parts = urlsplit(path)
    _, _, key = parts.path.lstrip("/").partition("/")
    if method == "GET" and "prefix=" in parts.query:
        key = re.sub("%2F", "/", re.search(r"prefix=([^&]*)", parts.query)[1], flags=re.I)  # type: ignore[index]
        return "ListObjects", key
    copied = any(name.lower() == "x-amz-copy-source" for name in headers)
    names = {"GET": "GetObject", "HEAD": "HeadObject" if key else "HeadBucket", "DELETE": "DeleteObject"}
    names |= {"PUT": "CopyObject" if copied else "PutObject", "POST": "DeleteObjects" if "delete" in path else "POST"}
    return names[method], key


def serve(proxy: FaultyS3) -> None:
    """Take connections, in a thread."""
    threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True).start()


@contextlib.contextmanager
def faulty(server: str) -> Iterator[FaultyS3]:
    """A proxy before `server`, while the body runs."""
    proxy = FaultyS3(server)
    serve(proxy)
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()


def kill_client(port: int) -> int:
    """Kill the process that a connection from `port` belongs to; its id."""
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.pid not in (None, os.getpid()):
            os.kill(connection.pid, signal.SIGKILL)
            return int(connection.pid)
    raise ProcessLookupError(f"no process has a connection from port {port}")
