"""What the service answers to prompts that its generator does not read, asked over HTTP without Ray."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from dermray.datasets.phantom import encode_png
from dermray.generators.base import Request, family
from dermray.serving.api import api_of
from dermray.serving.generation import Drawing, Drawn, Generation
from dermray.serving.service import Service
from dermray.serving.settings import ServedGenerator, ServiceConfig
from tests.generators.conftest import CAPTIONS

URL, KEY = "/v1/images/generations", {"Authorization": "Bearer k"}
MODEL = {"image_size": 16, "stem_width": 8, "width": 32, "blocks": 1, "caption_length": 12}


class Replica(Generation.func_or_class):  # type: ignore[name-defined]  # serve.deployment adds the attribute
    """A small generator that learned two captions; it draws at once, where Serve would wait for a batch."""

    def __init__(self) -> None:
        cls: Any = family("pixel_dermdit")
        config = cls.Config(**MODEL)
        self.generator, self.readers = cls.from_captions(config, CAPTIONS).eval(), cls.readers(config, CAPTIONS)
        self.licence = "CC0-1.0"

    def about(self) -> dict[str, Any]:
        return {"version": "v1", "image_size": 16, "sizes": [16], "licence": self.licence, "negative_prompts": False}

    def draw(self, drawing: Drawing) -> list[Drawn]:
        requests = [Request(drawing.prompt, seed) for seed in drawing.seeds]
        pixels = self.generator.sample(requests, drawing.guidance_scale, drawing.steps)
        pngs = [encode_png(image.permute(1, 2, 0).numpy()) for image in pixels]
        return [Drawn(seed, png) for seed, png in zip(drawing.seeds, pngs, strict=True)]


class Handle:
    """A deployment's handle whose replica is here."""

    def __init__(self, replica: Any) -> None:
        self.replica = replica

    def __getattr__(self, name: str) -> Any:
        async def remote(*arguments: Any) -> Any:
            return getattr(self.replica, name)(*arguments)

        return SimpleNamespace(remote=remote)


@pytest.fixture(scope="module")
def handle() -> Handle:
    torch.manual_seed(0)
    return Handle(Replica())


@pytest.fixture
def client(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The service's own application."""
    monkeypatch.setenv("DERMRAY_API_KEYS", "k")
    model = ServedGenerator(task="generation", name="pixel", model="none")
    return TestClient(api_of(Service(ServiceConfig(models=(model,)), {"pixel": handle})))


def ask(client: TestClient, prompt: str) -> tuple[int, dict[str, Any]]:
    answer = client.post(URL, json={"prompt": prompt, "seed": 1, "steps": 1}, headers=KEY)
    return answer.status_code, answer.json()


def test_a_prompt_that_is_read_is_drawn_without_a_word(client: TestClient) -> None:
    status, answer = ask(client, "malignant, skin tone B: red.")
    assert status == 200 and len(answer["data"]) == 1
    assert answer["unknown_words"] == answer["warnings"] == []


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("меланома", ["меланома"]),
        ("невус", ["невус"]),
        ("黑色素瘤", ["瘤", "素", "色", "黑"]),
        ("melanoma with whorls, black", ["melanoma", "whorls", "with"]),
    ],
)
def test_mostly_unknown_words_are_refused_by_name(client: TestClient, prompt: str, named: list[str]) -> None:
    status, answer = ask(client, prompt)
    assert status == 400 and "unknown to the generator's text encoder (words)" in answer["error"]["message"]
    assert answer["error"]["message"].endswith(", ".join(map(repr, named)))


def test_half_of_the_words_is_drawn(client: TestClient) -> None:
    status, answer = ask(client, "невус, red")
    assert status == 200 and answer["unknown_words"] == ["невус"]


def test_a_longer_prompt_than_is_read_is_refused(client: TestClient) -> None:
    assert ask(client, "red " * 12)[0] == 200
    status, answer = ask(client, "red " * 13)
    assert status == 400
    assert (
        answer["error"]["message"]
        == "prompt: the prompt has 13 words, of which the text encoder (words) reads 12: shorten it"
    )


def test_some_unknown_words_are_drawn_and_named(client: TestClient) -> None:
    status, answer = ask(client, "malignant, skin tone B: whorled, black")
    assert status == 200 and answer["unknown_words"] == ["whorled"]
    assert answer["warnings"] == ["1 of 6 words are unknown to the text encoder (words); the text is not mostly such"]


@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "attributes.site"])
def test_a_nul_is_refused_for_no_png_can_say_it(client: TestClient, field: str) -> None:
    body: dict[str, Any] = {"prompt": "red.", "seed": 1, "steps": 1}
    if field == "attributes.site":
        body["attributes"] = {"site": "ba\0ck"}
    else:
        body[field] = "red\0blue"
    answer = client.post(URL, json=body, headers=KEY)
    error = answer.json()["error"]
    assert answer.status_code == 400 and error["param"] == field
    assert error["message"] == f"{field}: holds a NUL character; leave it out"


def test_signs_alone_are_drawn_as_ever_and_said_to_be_no_words(client: TestClient) -> None:
    status, answer = ask(client, "?!")
    assert status == 200 and answer["warnings"] == ["the text is without a word"]
    assert ask(client, "")[0] == 400, "by the schema"


class Gated(Replica):
    """Its gate refuses odd seeds, and all of them while `closed`."""

    def __init__(self) -> None:
        super().__init__()
        self.closed, self.asked = False, list[list[int]]()

    def draw(self, drawing: Drawing) -> list[Drawn]:
        self.asked.append(drawing.seeds)
        return [
            Drawn(seed, None, 0.5) if seed % 2 or self.closed else Drawn(one.seed, one.png, 1.5)
            for seed, one in zip(drawing.seeds, super().draw(drawing), strict=True)
        ]


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> tuple[TestClient, Gated]:
    monkeypatch.setenv("DERMRAY_API_KEYS", "k")
    replica, model = Gated(), ServedGenerator(task="generation", name="pixel", model="none")
    return TestClient(api_of(Service(ServiceConfig(models=(model,)), {"pixel": Handle(replica)}))), replica


def test_images_that_the_gate_refuses_are_named_and_the_others_say_how_near_they_are(
    gated: tuple[TestClient, Gated],
) -> None:
    body = {"prompt": "red.", "seed": 10, "n": 3, "steps": 1}
    answer = gated[0].post(URL, json=body, headers=KEY).json()
    assert [(image["seed"], image["gate_distance"]) for image in answer["data"]] == [(10, 1.5), (12, 1.5)]
    assert answer["refused"] == [{"seed": 11, "gate_distance": 0.5}]


def test_where_the_gate_refuses_all_there_is_no_image(gated: tuple[TestClient, Gated]) -> None:
    answer = gated[0].post(URL, json={"prompt": "red.", "seed": 11, "steps": 1}, headers=KEY)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "gate_refused", "seed")
    assert "seeds [11] lies nearer to a training image than the gate allows" in error["message"]


def test_seeds_that_nobody_named_give_way_to_others(gated: tuple[TestClient, Gated]) -> None:
    client, replica = gated
    answer = client.post(URL, json={"prompt": "red.", "n": 4, "steps": 1}, headers=KEY).json()
    assert len(answer["data"]) + len(answer["refused"]) == 4 and all(i["seed"] % 2 == 0 for i in answer["data"])
    first, *others = replica.asked
    assert sum(map(len, others)) >= sum(seed % 2 for seed in first), "each refused seed was drawn anew"
    replica.closed, replica.asked = True, []
    assert client.post(URL, json={"prompt": "red.", "steps": 1}, headers=KEY).status_code == 400
    assert len(replica.asked) == 4, "three times, and no more"
