"""A browser, and the service that it visits."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dermray.config import validate
from dermray.serving.keys import Key, Keys, digest
from dermray.serving.settings import ServiceConfig
from tests.serving.classifiers import write_validated
from tests.serving.models import write_generator
from tests.serving.web.browsers import launched, program
from tests.serving.web.here import replicas, served_here
from tests.serving.web.runs import write_run

pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")


@dataclass(frozen=True)
class Visited:
    """A service that browsers visit."""

    url: str
    key: str
    scorer: str = ""  # a key that may classify and nothing else


@pytest.fixture(scope="module")
def models_here(tmp_path_factory: pytest.TempPathFactory) -> ServiceConfig:
    """A generator and a validated classifier, random weights both."""
    directory = tmp_path_factory.mktemp("here")
    write_generator(directory / "generator")
    write_validated(directory / "classifier")
    models = [
        {"task": "generation", "name": "pixel", "model": f"{directory}/generator", "steps": 3},
        {"task": "classification", "name": "resnet", "model": f"{directory}/classifier"},
    ]
    jobs = {"database": f"sqlite:///{directory}/jobs.db", "place": f"{directory}/jobs"}
    return validate(ServiceConfig, {"models": models, "jobs": jobs})


@pytest.fixture(scope="module")
def replicas_here(models_here: ServiceConfig) -> dict[str, Any]:
    """Its models, which several services may share."""
    return replicas(models_here)


@pytest.fixture(scope="module")
def visited(models_here: ServiceConfig, replicas_here: dict[str, Any]) -> Iterator[Visited]:
    """The service with keys."""
    key, scorer = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
    keys = Keys([key])
    keys._of_file = (Key(name="scorer", hash=digest(scorer), scopes=("classify",)),)
    with served_here(models_here, keys, replicas_here) as url:
        yield Visited(url, key, scorer)


@pytest.fixture(scope="module")
def shown(
    models_here: ServiceConfig, replicas_here: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visited]:
    """The service with a run and a single result to be shown."""
    run = tmp_path_factory.mktemp("runs") / "clinic"
    write_run(run)
    config = models_here.model_copy(update={"runs": (str(run), str(run / "sweep"))})
    key, scorer = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
    keys = Keys([key])
    keys._of_file = (Key(name="scorer", hash=digest(scorer), scopes=("classify",)),)
    with served_here(config, keys, replicas_here) as url:
        yield Visited(url, key, scorer)


@pytest.fixture(scope="module")  # not of the session: its event loop would be in the way of other tests' asyncio.run
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    if program() is None:
        pytest.skip("no chromium: apt-get install chromium; the page was not tested in a browser")
    with launched() as started:
        yield started


@pytest.fixture
def context(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """A browser that nobody used before. Whatever asks another host or breaks the page's own policy fails the test."""
    made = browser.new_context(accept_downloads=True, viewport={"width": 1280, "height": 900})
    made.set_default_timeout(60_000)  # machines are at times many times slower
    wrong: list[str] = []

    def asked(request: Any) -> None:
        where = urlsplit(request.url)
        if where.scheme not in ("blob", "data") and where.hostname != "127.0.0.1":
            wrong.append(f"asked {request.url}")

    def said(message: Any) -> None:
        if "Content Security Policy" in message.text:
            wrong.append(message.text)

    made.on("request", asked)
    made.on("console", said)
    made.on("weberror", lambda error: wrong.append(str(error.error)))
    yield made
    made.close()
    assert not wrong, wrong


@pytest.fixture
def page(context: Any) -> Any:
    """An empty tab."""
    return context.new_page()
