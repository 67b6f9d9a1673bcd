"""Hostile clients, on the running service."""

import contextlib
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import ray

from tests.serving.conftest import Live
from tests.serving.door.sockets import Raw, answer, connect, head, say
from tests.serving.models import PROMPT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"


def processes(live: Live) -> dict[str, psutil.Process]:
    """Serve's proxy, which listens, and the ingress replica beside it; other Rays of the machine have theirs."""
    port = urlsplit(live.url).port
    listens = [c.pid for c in psutil.net_connections("tcp") if c.laddr.port == port and c.status == psutil.CONN_LISTEN]
    proxy = psutil.Process(listens[0])
    raylet = proxy.parent()
    assert raylet is not None
    ingress = [child for child in raylet.children() if "ServeReplica:dermray:Api" in " ".join(child.cmdline())]
    return {"proxy": proxy, "ingress": ingress[0]}


class Memory:
    """Resident MiB of proxy and ingress, at most, over what they had."""

    def __init__(self, live: Live) -> None:
        self.processes = processes(live)
        self.before = self._now()
        self.grown = Counter[str]()

    def _now(self) -> dict[str, float]:
        return {name: process.memory_info().rss / 2**20 for name, process in self.processes.items()}

    def look(self) -> None:
        for name, now in self._now().items():
            self.grown[name] = max(self.grown[name], int(now - self.before[name]))


def works(live: Live) -> None:
    """Every route answers, and soon."""
    with live.client() as client:
        for path in ("/healthz", "/livez", "/readyz", "/v1/models"):
            began = time.monotonic()
            assert client.get(path).status_code == 200
            assert time.monotonic() - began < 5
        assert client.post("/v1/images/generations", json={"prompt": PROMPT}).status_code == 200


@contextlib.contextmanager
def half_sent(live: Live, number: int, *lines: str, key: bool = True) -> Iterator[list[socket.socket]]:
    sockets = []
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            opened = stack.enter_context(connect(live))
            opened.sendall(head(live, JSON, *lines, key=key) + b'{"prompt": "')
            sockets.append(opened)
        yield sockets


def test_a_hundred_half_sent_bodies_without_a_key_hold_up_nobody(live: Live) -> None:
    with half_sent(live, 100, "Content-Length: 1000", key=False) as sockets:
        works(live)
        answers = [answer(opened) for opened in sockets]
        assert {(raw.status, raw.error["code"]) for raw in answers} == {(401, "missing_key")}
        assert all(opened.recv(1) == b"" for opened in sockets), "and the sockets are closed"


def test_a_hundred_half_sent_bodies_with_a_key_hold_up_nobody(live: Live) -> None:
    began = time.monotonic()
    with half_sent(live, 100, "Content-Length: 1000") as sockets:
        with live.client() as client:
            for path in ("/healthz", "/livez", "/readyz", "/v1/models"):
                assert client.get(path).status_code == 200
        statuses = Counter(answer(opened).status for opened in sockets)
        assert statuses == {429: 68, 408: 32}, "32 of a key are waited for, five seconds"
    assert time.monotonic() - began < 15
    works(live)


def test_a_slow_body_is_not_waited_for(live: Live) -> None:
    with connect(live) as opened:
        opened.sendall(head(live, JSON, "Content-Length: 1000"))
        began, raw = time.monotonic(), None
        opened.settimeout(0.2)
        while raw is None and time.monotonic() - began < 15:
            opened.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                raw = answer(opened)
    assert raw is not None and (raw.status, raw.error["code"]) == (408, "slow_body")


@pytest.mark.parametrize("key", [False, True])
def test_200_mb_in_chunks_are_not_kept(live: Live, key: bool) -> None:
    memory, sent, chunk = Memory(live), 0, b"100000\r\n" + b"a" * (1 << 20) + b"\r\n"
    with connect(live) as opened:
        opened.sendall(head(live, JSON, CHUNKED, key=key))
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                opened.sendall(chunk)
                sent += 1
                memory.look()
        raw = answer(opened)
    print(f"key={key}: {sent} MiB were taken, status {raw.status}, grown {dict(memory.grown)} MiB")
    assert raw.status in (0, 413 if key else 401)
    # Serve reads ahead of the answer, with a key or without: 64 MiB of a body at most, and of all bodies four times it
    assert sent < 100 and max(memory.grown.values()) < 200
    works(live)


def test_requests_are_logged_and_measured_without_keys_and_prompts(live: Live) -> None:
    named = {"X-Request-Id": "job-of-this-test"}
    with live.client() as client:
        answered = client.post("/v1/images/generations", json={"prompt": PROMPT}, headers=named)
        refused = client.get("/v1/models", headers=named | {"Authorization": "Bearer wrong"})
    assert answered.headers.get_list("x-request-id") == refused.headers.get_list("x-request-id") == ["job-of-this-test"]
    node = ray.nodes()[0]
    logs = Path(ray._private.worker._global_node.get_session_dir_path(), "logs", "serve")
    said = "".join(path.read_text() for path in logs.glob("replica_dermray_Api_*.log"))
    lines = [line for line in said.splitlines() if '"request_id": "job-of-this-test"' in line]
    assert len(lines) == 2 and '"status": 200' in lines[0] and '"rejected": "invalid_api_key"' in lines[1]
    assert live.key not in said and PROMPT not in said
    for _ in range(60):  # Ray's agent exports every few seconds
        metrics = httpx.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics").text
        if "dermray_request_seconds_count" in metrics and 'reason="invalid_api_key"' in metrics:
            return
        time.sleep(0.5)
    raise AssertionError([line for line in metrics.splitlines() if "dermray" in line])


TRICKS = {
    "no UTF-8 in a request id": (["X-Request-Id: \xff\xfe"], {401, 200}),
    "no UTF-8 in a model id of Serve's": (["serve_multiplexed_model_id: \xff"], {200}),
    "a session of Serve's": (["x-session-id: \xff\xfe"], {200}),
    "no UTF-8 in a header": (["User-Agent: \xff\xfe"], {200}),
    "an odd header name": (["X-\xe9: 1"], {400, 200}),
    "NUL in a header": (["X-A: a\x00b"], {400}),
    "a folded header": (["X-A: a\r\n b"], {200, 400}),
    "a space before the colon": (["X-A : a"], {400}),
    "two lengths": (["Content-Length: 0", "Content-Length: 5"], {400}),
    "a length and chunks": (["Content-Length: 5", CHUNKED], {400, 413}),
    "no length": (["Content-Length: abc"], {400}),
    "a negative length": (["Content-Length: -5"], {400}),
    "a huge length": (["Content-Length: 99999999999999999999999"], {400, 413}),
    "an unknown encoding": (["Transfer-Encoding: gzip"], {400, 413, 501}),
    "40 kB of a header": ([f"X-A: {'a' * 40_000}"], {431, 400}),
    "a thousand headers": ([f"X-{i}: {'a' * 50}" for i in range(1000)], {431, 400}),
    "two hosts": (["Host: other"], {400}),
    "a time of Serve's": (["x-request-timeout-seconds: 0.000001"], {200}),
}


@pytest.mark.parametrize("name", TRICKS)
def test_odd_headers(live: Live, name: str) -> None:
    lines, expected = TRICKS[name]
    raw = say(live, head(live, *lines, path="/v1/models", method="GET"))
    print(name, raw.status, raw.body[:120])
    assert raw.status in expected, raw
    if raw.status >= 400 and raw.body[:1] == b"{":
        assert raw.error


@pytest.mark.parametrize(
    "path", ["/%ff", "/v1/%00", "/%", "/v1/../../etc/passwd", "/docs/assets/..%2f..%2fcore.py", "/v1/models%0d%0aX: 1",
             "//v1/models", "http://other/v1/models", "/\xe9", "/" + "a" * 9000, "/docs/assets/%2e%2e/%2e%2e/api.py"]
)  # fmt: skip
def test_odd_paths(live: Live, path: str) -> None:
    raw = say(live, head(live, path=path, method="GET"))
    print(path[:40], raw.status, raw.body[:100])
    assert 400 <= raw.status < 500 or (path, raw.status) == ("http://other/v1/models", 200)


@pytest.mark.parametrize(
    "data", [b"\x00" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00" * 9]
)
def test_what_is_no_http(live: Live, data: bytes) -> None:
    raw: Raw = say(live, data)
    print(data[:20], raw.status, raw.body[:100])
    assert raw.status in (0, 400, 404, 505)
    works(live)


def test_200_mutated_images_get_an_answer_each(live: Live) -> None:
    from tests.serving.door.mutants import mutants

    statuses = Counter[int]()
    with live.client() as client:
        for data in mutants(random.Random(0), 200):
            got: httpx.Response = client.post("/v1/classifications", files={"image": data})
            statuses[got.status_code] += 1
            assert got.status_code == 200 or (400 <= got.status_code < 500 and got.json()["error"]["request_id"])
            assert "Traceback" not in got.text
    print(statuses)
    assert statuses[200] > 10 and statuses[400] > 50
