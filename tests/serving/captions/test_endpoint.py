"""A remote endpoint behind the service: a small server of errors, asked through HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dermray.captioning import prompts
from dermray.captioning.settings import RemoteConfig
from dermray.serving.api import api_of
from dermray.serving.captions import endpoint
from dermray.serving.captions.opening import found
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.keys import Keys
from dermray.serving.service import Service
from dermray.serving.settings import ServiceConfig
from tests.captioning.endpoint import KEY, KEY_VARIABLE, Endpoint, completion, serving
from tests.conftest import free_port
from tests.serving.captions.stand_in import KEY as HEADERS
from tests.serving.captions.stand_in import Handle, captioning
from tests.serving.captions.test_captions import IMAGES, URL, files


class Moody(Endpoint):
    """Answers with the status that `mood` says."""

    mood: int | str = 200
    bodies: list[dict[str, Any]] = []

    def reply(self, body: str) -> None:
        self.bodies.append(json.loads(body))
        if self.mood == 200:
            self.send(200, completion("asymmetric lesion, red."))
        elif self.mood == "once":
            Moody.mood = 200
            self.send(429, {"error": {"message": "slow down"}}, {"retry-after": "0"})
        else:
            self.send(int(self.mood), {"error": {"message": f"no: {self.headers['Authorization']}"}})


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> type[Moody]:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    Moody.mood, Moody.bodies = 200, []
    return Moody


def model(address: str) -> ServedCaptioner:
    remote = RemoteConfig(base_url=address, model="m", key_variable=KEY_VARIABLE, max_retries=1, timeout=5)
    return ServedCaptioner(task="captioning", name="far", remote=remote)


def client_of(served: ServedCaptioner, place: Any) -> TestClient:
    replica = captioning(served, endpoint.Endpoint(place), place)
    service = Service(ServiceConfig(models=(served,)), {served.name: Handle(replica)})
    return TestClient(api_of(service, Keys(["k"])), headers=HEADERS)


@pytest.fixture
def client(moody: type[Moody]) -> Iterator[TestClient]:
    with serving(moody) as address:
        served = model(address)
        with client_of(served, found(served)) as client:
            yield client


def test_an_answer_with_guided_decoding_and_sampling(client: TestClient, moody: type[Moody]) -> None:
    given = {"prompt_set": "structured", "max_tokens": "700"}
    answer = client.post(URL, files=files(IMAGES[0]), data=given)
    assert answer.status_code == 200, answer.text
    [said] = answer.json()["data"]
    assert said["reason"].startswith("invalid JSON") and (said["tokens_in"], said["tokens_out"]) == (70, 6)
    assert answer.json()["captioner"] == "m" and answer.json()["captioner_revision"] is None
    [body] = moody.bodies
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema == prompts.prompt_set("structured").schema and body["max_tokens"] == 700
    assert body["messages"][0]["content"][1]["text"] == prompts.render("structured", {})


def test_a_refusal_that_passes_is_tried_again(client: TestClient, moody: type[Moody]) -> None:
    moody.mood = "once"
    answer = client.post(URL, files=files(*IMAGES[:3])).json()
    assert [said["status"] for said in answer["data"]] == ["ok"] * 3 and len(moody.bodies) == 4


@pytest.mark.parametrize(
    ("mood", "status", "code", "said"),
    [
        (401, 502, "endpoint_refuses", "refuses this service: HTTP 401"),
        (404, 502, "endpoint_refuses", "HTTP 404; its operator must look after it"),
        (429, 503, "unavailable", "does not answer now: HTTP 429, tried 2 times"),
        (500, 503, "unavailable", "HTTP 500, tried 2 times"),
    ],
)
def test_an_endpoint_that_refuses_or_fails(
    mood: int, status: int, code: str, said: str, client: TestClient, moody: type[Moody]
) -> None:
    moody.mood = mood
    answer = client.post(URL, files=files(*IMAGES[:2]))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code) and said in error["message"]
    assert KEY not in answer.text and ("retry-after" in answer.headers) == (status == 503)


def test_an_image_that_it_does_not_take_fails_alone(client: TestClient, moody: type[Moody]) -> None:
    moody.mood = 400
    answer = client.post(URL, files=files(IMAGES[0]))
    [said] = answer.json()["data"]
    assert (answer.status_code, said["status"]) == (200, "failed")
    assert said["reason"] == "engine: 400: no: Bearer <key>", "the key is not handed on"


def test_nobody_there(moody: type[Moody]) -> None:
    with serving(moody) as address:
        place = found(model(address))
    gone = model(f"http://127.0.0.1:{free_port()}/v1")
    with client_of(gone, place.__class__(place.captioner, gone.host, place.parts)) as client:
        answer = client.post(URL, files=files(IMAGES[0]))
    assert answer.status_code == 503 and "no whole answer came, tried 2 times" in answer.text
    assert "127.0.0.1" not in answer.text, "where it lies is no matter of clients"
