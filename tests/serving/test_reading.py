"""A reader study on Serve: through its proxy, and whatever is killed."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray import serve

from dermray.serving.app import build
from dermray.serving.door import front
from dermray.serving.keys import KEYS_VARIABLE
from dermray.serving.reading import command
from tests.conftest import free_port, ray_of_its_own
from tests.serving.conftest import Live
from tests.serving.reading.conftest import built_study as built_study
from tests.serving.reading.conftest import shown_study as shown_study
from tests.serving.reading.conftest import study_config
from tests.serving.test_steady import processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def reading(shown_study: Path, tmp_path: Path) -> Iterator[tuple[Live, dict[str, str]]]:
    """The service of a study and no model, and readers' codes."""
    config = study_config(shown_study, f"sqlite:///{tmp_path}/jobs.db")
    said = command.codes(config, "skin", ["jane", "joe"], False)
    codes = dict(line.split() for line in said.splitlines() if line.startswith("  "))
    port, key = free_port(), secrets.token_urlsafe(8)
    with ray_of_its_own(**{KEYS_VARIABLE: key, front.VARIABLE: front.PATH}):
        serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 120})
        serve.run(build(config), name="dermray", route_prefix="/")
        yield Live(f"http://127.0.0.1:{port}", key), codes
        serve.shutdown()


def again(client: httpx.Client, method: str, path: str, **sent: Any) -> httpx.Response:
    """As the page does: asked until the service answers."""
    for _ in range(240):
        try:
            answer = client.request(method, path, **sent)
            if answer.status_code not in (429, 500, 503):
                return answer
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"{path}: no answer")


def test_a_killed_replica_loses_no_answer_and_counts_none_twice(reading: tuple[Live, dict[str, str]]) -> None:
    live, codes = reading
    root = f"{live.url}/v1/reader-studies/skin"
    page = httpx.get(f"{live.url}/reader-study/skin")
    assert page.status_code == 200 and "reader.js" in page.text
    assert httpx.get(f"{live.url}/readyz").status_code == 200, "a study alone is a whole service"
    told = httpx.post(f"{root}/sessions", json={"code": codes["jane"]}).json()
    with httpx.Client(headers={"Authorization": f"Bearer {told['session']}"}, timeout=60) as client:
        images = [client.get(f"{root}/images/{place}") for place in range(1, 15)]
        assert {image.headers["cache-control"] for image in images} == {"no-store, no-transform"}
        assert len({tuple(name for name, _ in image.headers.items()) for image in images}) == 1
        assert len({len(image.content) for image in images}) == 1 and len({image.content for image in images}) == 14
        for place in range(1, 15):
            if place == 7:
                killed = processes("ServeReplica:dermray:Api")
                assert killed
                for process in killed:
                    process.kill()
            sent = {"said": {"entity": "nv", "origin": "AI"}, "replaces": 0, "sent_as": f"sending-{place}"}
            for _ in range(2):  # as after a lost response
                answer = again(client, "PUT", f"{root}/reading/{place}", json=sent)
                assert answer.status_code == 200 and answer.json() == {"revision": 1}
        assert again(client, "POST", f"{root}/finish", json={"answered": 14}).status_code == 204
    with live.client() as operator:
        assert operator.get(f"{root}/readers").json()["data"][0] == {
            "name": "jane", "answered": 14, "images": 14, "finished": True,
        }  # fmt: skip
        assert operator.get(f"{root}/answers/jane.csv").content.count(b",nv,,AI,") == 14
