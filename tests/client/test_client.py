"""Both clients against a server that answers as it is told; the service itself is asked in tests/serving."""

import asyncio
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dermray.client import AsyncClient, Client, JobImage, Patience, ServiceError, Unreachable, patience
from dermray.client.questions import MOST_IMAGES, classifications, encoded
from tests.conftest import free_port

Answer = tuple[int, dict[str, str], Any]
REFUSED = {"error": {"message": "n=9: expected at most 8", "param": "n", "code": "invalid_value", "request_id": "r1"}}
DRAWN = {"model": "pixel", "licence": "CC0", "size": "32x32", "origin": "synthetic",
         "data": [{"seed": 1, "sample_id": "s", "b64_json": "iVBORw=="}]}  # fmt: skip


class Scripted:
    """A server that gives these answers in turn, the last one for ever. `asked` is what came."""

    def __init__(self) -> None:
        self.answers, self.asked, self.when = list[Answer](), list[tuple[str, dict[str, str], bytes]](), list[float]()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.asked.append((self.path, dict(self.headers), body))
                server.when.append(time.monotonic())
                status, headers, told = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                if status == 0:  # hang up
                    self.close_connection = True
                    return
                if status == 1:  # say nothing for a while
                    time.sleep(1)
                    return
                data = told.encode() if isinstance(told, str) else json.dumps(told).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _answer  # noqa: N815  # the names are http.server's

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.http.shutdown()
    scripted.http.server_close()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, server: Scripted) -> Callable[..., Any]:
    """Call a method of either client."""

    def call(method: str, *args: Any, tries: int = 5, seconds: float = 60, url: str = "", **kwargs: Any) -> Any:
        patient = Patience(tries, seconds)
        if request.param == "sync":
            with Client(url or server.url, "k", patient) as client:
                return getattr(client, method)(*args, **kwargs)

        async def awaited() -> Any:
            async with AsyncClient(url or server.url, "k", patient) as client:
                return await getattr(client, method)(*args, **kwargs)

        return asyncio.run(awaited())

    return call


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.01)


def scores(number: int, version: str = "v1") -> dict[str, Any]:
    data = [{"index": i, "predicted": "benign", "malignant": 0.1} for i in range(number)]
    return {"model": "resnet", "version": version, "column": "malignant", "classes": ["benign", "malignant"],
            "calibrated": True, "data": data, "notice": "Research software."}  # fmt: skip


def test_a_full_queue_and_a_dead_replica_are_waited_for_as_long_as_they_say(
    ask: Callable[..., Any], server: Scripted
) -> None:
    server.answers = [(429, {"Retry-After": "0.3"}, REFUSED), (503, {}, "gone"), (0, {}, ""), (200, {}, DRAWN)]
    drawn = ask("generate", "benign", seed=1)
    assert [image.seed for image in drawn.data] == [1] and drawn.data[0].png == b"\x89PNG"
    assert drawn.origin == "synthetic", "fields that this client does not know are kept"
    assert len(server.asked) == 4 and server.when[1] - server.when[0] >= 0.3
    assert server.asked[0][1]["Authorization"] == "Bearer k"
    assert json.loads(server.asked[0][2]) == {"prompt": "benign", "seed": 1}


def test_a_refusal_is_final_and_in_the_service_s_words(ask: Callable[..., Any], server: Scripted) -> None:
    server.answers = [(400, {}, REFUSED)]
    with pytest.raises(ServiceError, match="400: n=9: expected at most 8") as raised:
        ask("generate", "benign", n=9)
    error = raised.value
    assert (error.status, error.param, error.code, error.request_id) == (400, "n", "invalid_value", "r1")
    assert len(server.asked) == 1


def test_patience_ends(ask: Callable[..., Any], server: Scripted) -> None:
    server.answers = [(503, {}, "<html>\n Bad   gateway </html>")]
    with pytest.raises(ServiceError, match="503: <html> Bad gateway </html>"):
        ask("models", tries=3)
    assert len(server.asked) == 3


def test_an_answer_that_does_not_come_in_time_is_not_asked_for_again(ask: Callable[..., Any], server: Scripted) -> None:
    server.answers = [(1, {}, "")]
    with pytest.raises(Unreachable, match=r"no answer within 0.2 s; ask for less, or give more"):
        ask("models", seconds=0.2)
    assert len(server.asked) == 1


def test_nobody_there(ask: Callable[..., Any]) -> None:
    with pytest.raises(Unreachable, match=r"http://127.0.0.1:\d+: .*tried 2 times; does the service run there"):
        ask("models", tries=2, url=f"http://127.0.0.1:{free_port()}")


def test_many_images_are_several_requests_and_one_answer(ask: Callable[..., Any], server: Scripted) -> None:
    server.answers = [(200, {}, scores(MOST_IMAGES)), (200, {}, scores(6))]
    told = ask("classify", *[b"image"] * (MOST_IMAGES + 6), model="resnet")
    assert [score.index for score in told.data] == list(range(MOST_IMAGES + 6))
    assert [body.count(b'name="image"') for _, _, body in server.asked] == [MOST_IMAGES, 6]
    assert all(b'name="model"' in body for _, _, body in server.asked)


def test_a_model_that_was_replaced_in_between(ask: Callable[..., Any], server: Scripted) -> None:
    server.answers = [(200, {}, scores(MOST_IMAGES)), (200, {}, scores(1, "v2"))]
    with pytest.raises(RuntimeError, match=r"version v1, then v2\), so that their scores do not compare; ask again"):
        ask("classify", *[b"image"] * (MOST_IMAGES + 1))


def test_images_are_paths_bytes_or_pillow_s(tmp_path: Path) -> None:
    picture = Image.new("RGB", (3, 2), (10, 20, 30))
    picture.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert encoded(tmp_path / "a.png") == encoded(str(tmp_path / "a.png")) == encoded(data) == data
    assert Image.open(io.BytesIO(encoded(picture))).tobytes() == picture.tobytes()
    with pytest.raises(TypeError, match="list: expected the path of an image, its bytes, or a PIL.Image"):
        encoded([picture])


def test_large_images_do_not_share_a_request() -> None:
    asked = list(classifications([bytes(30 << 20), bytes(30 << 20), b"small"], None, saliency=False))
    assert [len(each.options["files"]) for each in asked] == [1, 2]


def captioned(number: int, version: str = "v1") -> dict[str, Any]:
    data = [{"index": i, "status": "ok", "caption": "red."} for i in range(number)]
    return {"model": "nano", "captioner": "c", "prompt_set": "abc", "prompt_version": version, "sampling": {},
            "data": data, "notice": "Written by a model."}  # fmt: skip


def test_captions_of_many_images_with_the_metadata_of_each(ask: Callable[..., Any], server: Scripted) -> None:
    server.answers = [(503, {}, "starting"), (200, {}, captioned(MOST_IMAGES)), (200, {}, captioned(2))]
    metadata = [{"malignant": True}] * MOST_IMAGES + [{"age": 61}, {}]
    told = ask("caption", *[b"image"] * (MOST_IMAGES + 2), prompt_set="abc", metadata=metadata, seed=0, model=None)
    assert [said.index for said in told.data] == list(range(MOST_IMAGES + 2)) and told.data[-1].caption == "red."
    assert [path for path, _, _ in server.asked] == ["/v1/captions"] * 3
    bodies = [body for _, _, body in server.asked[1:]]
    assert [body.count(b'name="image"') for body in bodies] == [MOST_IMAGES, 2]
    assert bodies[0].count(b'{"malignant": true}') == MOST_IMAGES and b'[{"age": 61}, {}]' in bodies[1]
    assert all(b'name="seed"' in body and b'name="model"' not in body for body in bodies)
    server.answers = [(200, {}, captioned(1))]
    ask("caption", b"image", metadata={"sex": "male"})
    assert b'{"sex": "male"}' in server.asked[-1][2]


def test_captions_that_cannot_be_asked_for_or_joined(ask: Callable[..., Any], server: Scripted) -> None:
    with pytest.raises(ValueError, match="metadata: 1 for 2 images; expected a dict for all, or one for each"):
        ask("caption", b"a", b"b", metadata=[{}])
    with pytest.raises(ValueError, match="expected at least one image"):
        ask("caption", prompt_set="abc")
    server.answers = [(200, {}, captioned(MOST_IMAGES)), (200, {}, captioned(1, "v2"))]
    with pytest.raises(RuntimeError, match="nano was replaced while images were captioned"):
        ask("caption", *[b"image"] * (MOST_IMAGES + 1))


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_what_makes_no_sense_is_said_at_once(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'localhost:8000': expected http://"):
        client("localhost:8000")
    with pytest.raises(ValueError, match="tries of at least 1"):
        client("http://localhost", patience=Patience(tries=0))
    monkeypatch.setenv("DERMRAY_API_KEY", "from-the-environment")
    assert client("http://localhost/v1")._key == "from-the-environment"


def test_a_question_without_content(ask: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="expected a prompt, or attributes such as"):
        ask("generate", seed=1)
    with pytest.raises(ValueError, match="expected at least one image"):
        ask("classify")


def test_it_needs_neither_torch_nor_ray() -> None:
    script = "import sys, dermray.client; print({'torch', 'ray', 'pyarrow'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", script], check=True, stdout=-1, text=True).stdout == "set()\n"


JOB = [
    {"id": "j", "status": status, "model": "pixel", "images": 2, "images_done": n, "steps": 6, "steps_done": 3 * n}
    for status, n in (("queued", 0), ("running", 1), ("running", 1), ("succeeded", 2))
]


def test_a_job_is_asked_for_once_though_the_connection_broke(ask: Callable[..., Any], server: Scripted) -> None:
    server.answers = [(0, {}, ""), (202, {}, JOB[0])]
    assert not ask("submit", "red.", n=2).over
    repeated = [headers["Idempotency-Key"] for _, headers, _ in server.asked]
    assert len(repeated) == 2 and len(set(repeated)) == 1


def test_a_job_is_followed_to_its_end(server: Scripted) -> None:
    async def followed() -> list[str]:
        async with AsyncClient(server.url) as client:
            return [job.status async for job in client.follow("j", seconds=0)]

    server.answers = [(200, {}, told) for told in JOB * 2]
    with Client(server.url) as client:
        assert [job.status for job in client.follow("j", seconds=0)] == ["queued", "running", "succeeded"]
    assert asyncio.run(followed()) == ["queued", "running", "succeeded"]
    assert len(server.asked) == 8 and {path for path, _, _ in server.asked} == {"/v1/jobs/j"}


def test_the_key_goes_to_the_service_alone(ask: Callable[..., Any], server: Scripted) -> None:
    server.answers = [(200, {}, "png")]
    image = JobImage(index=0, seed=1, sample_id="s", url=f"{server.url}/bucket/0.png?signature=x")
    assert ask("fetch", image, url="http://127.0.0.1:1") == b"png"
    assert "Authorization" not in server.asked[0][1]
