"""The service as its users meet it: over HTTP, on Serve, with small models."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from ray import serve

from dermray.config import validate
from dermray.serving.app import build
from dermray.serving.door import front
from dermray.serving.keys import KEYS_VARIABLE
from dermray.serving.settings import ServiceConfig
from tests.conftest import free_port, ray_of_its_own
from tests.serving.models import write_classifier, write_generator


@dataclass(frozen=True)
class Live:
    """A running service."""

    url: str
    key: str

    def client(self, **options: object) -> httpx.Client:
        """With the key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def served_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `generator` and `classifier`."""
    directory = tmp_path_factory.mktemp("models")
    write_generator(directory / "generator")
    write_classifier(directory / "classifier")
    return directory


@pytest.fixture(scope="module")
def live(served_models: Path) -> Iterator[Live]:
    """The service on a Ray of its own."""
    models = [
        {"task": "generation", "name": "pixel", "model": str(served_models / "generator"), "steps": 3},
        {"task": "classification", "name": "resnet", "model": str(served_models / "classifier")},
    ]
    port, key = free_port(), secrets.token_urlsafe(8)
    with ray_of_its_own(**{KEYS_VARIABLE: key, front.VARIABLE: front.PATH}):
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        config = {
            "models": models, "limits": {"body_seconds": 5}, "kept_images": {"place": str(served_models / "kept")},
        }  # fmt: skip
        serve.run(build(validate(ServiceConfig, config)), name="dermray", route_prefix="/")
        yield Live(f"http://127.0.0.1:{port}", key)
        serve.shutdown()
