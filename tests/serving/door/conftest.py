"""The application behind its door, with models that answer here and at once."""

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from dermray.captioning.finish import Finish
from dermray.serving.api import api_of
from dermray.serving.calls import Calls
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.captions.work import Captioned, Work
from dermray.serving.classification.replica import About, Score
from dermray.serving.generation import Drawing, Drawn
from dermray.serving.keys import Key, Keys, digest
from dermray.serving.schemas import Reading
from dermray.serving.service import Service
from dermray.serving.settings import Limits, ServedClassifier, ServedGenerator, ServiceConfig
from tests.serving.door.asgi import KEY

LIMITS = Limits(body_bytes=1000, body_seconds=0.2, bodies_arriving=3, bodies_bytes=3000, running=2, queued=2)


class Handle:
    """A handle whose deployment answers what the test says."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.calls = answers, list[str]()

    def __getattr__(self, name: str) -> Any:
        async def remote(*asked: Any) -> Any:
            self.calls.append(name)
            answer = self.answers[name]
            return await answer(*asked) if callable(answer) else answer

        return SimpleNamespace(remote=remote)


@pytest.fixture
def anyio_backend() -> str:
    """What tests marked `anyio` run on."""
    return "asyncio"


async def draw(drawing: Drawing) -> list[Drawn]:
    """An image of each seed, at once."""
    return [Drawn(seed, b"png") for seed in drawing.seeds]


async def score(images: list[bytes], max_pixels: int) -> tuple[About, list[Score]]:
    """The same for each image."""
    about = About("v", "malignant", ("benign", "malignant"), None, None, None, None)
    return about, [Score("0" * 64, None, (0.5, 0.5), 0) for _ in images]


async def explain(image: bytes, max_pixels: int) -> tuple[bytes, float]:
    """A picture, and how far the probability fell."""
    return b"png", 0.1


def drawing() -> Handle:
    """A generator that draws at once."""
    about = {"version": "v1", "image_size": 16, "sizes": [16], "licence": "CC0-1.0", "negative_prompts": False}
    return Handle(about=about, read=Reading(refusal=None, unknown_words=[], warnings=[]), draw=draw)


def scoring() -> Handle:
    """A classifier that scores at once."""
    return Handle(about={"image_size": 16}, score=score, explain=explain)


async def caption(work: Work) -> Captioned:
    """The same of each image, with the rules of acceptance."""
    finish = Finish(work.prompt_set, ("malignant",), {"captioner": "c", "captioner_revision": None})
    said = {"question": "?", "unreadable": None, "text": "red.", "tokens_in": 9, "tokens_out": 2}
    return Captioned([finish.row(row | said) for row in work.rows], "c", None)


def captioning() -> Handle:
    """A captioner that answers at once."""
    return Handle(about={"captioner": "c", "captioner_revision": None}, caption=caption)


CAPTIONER = ServedCaptioner(task="captioning", name="nano", model="none")


@pytest.fixture
def generator() -> Handle:
    return drawing()


@pytest.fixture
def service(generator: Handle) -> Service:
    models = (
        ServedGenerator(task="generation", name="pixel", model="none"),
        ServedClassifier(task="classification", name="resnet", model="none"),
        CAPTIONER,
    )
    handles = {"pixel": Calls(generator), "resnet": Calls(scoring()), "nano": Calls(captioning())}
    return Service(ServiceConfig(models=models, limits=LIMITS), handles)


@pytest.fixture
def keys() -> Keys:
    found = Keys([])
    found._of_file = (
        Key(name="tests", hash=digest(KEY)),
        Key(name="scorer", hash=digest("s" * 32), scopes=("classify",)),
        Key.model_validate({"name": "old", "hash": digest("o" * 32), "expires": "2020-01-01T00:00:00Z"}, strict=False),
        Key(name="slow", hash=digest("l" * 32), requests_per_minute=2),
        Key(name="few", hash=digest("f" * 32), images_per_day=2),
    )
    return found


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the service logs; Ray's loggers tell pytest's nothing."""
    logger = logging.getLogger("ray.serve")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, "ray.serve"):
        yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def app(service: Service, keys: Keys) -> FastAPI:
    return api_of(service, keys)
