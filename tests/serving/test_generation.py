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
        return {"image_size": 16, "sizes": [16], "licence": self.licence, "negative_prompts": False}

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


def test_signs_alone_are_drawn_as_ever_and_said_to_be_no_words(client: TestClient) -> None:
    status, answer = ask(client, "?!")
    assert status == 200 and answer["warnings"] == ["the text is without a word"]
    assert ask(client, "")[0] == 400, "by the schema"
