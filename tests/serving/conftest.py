"""The service as its users meet it: over HTTP, on Serve, with small models."""

import contextlib
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
from tests.serving.models import write_classifier, write_generator, write_lora


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


@pytest.fixture(scope="session")
def loras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the nano base: `base`, and `red` and `wide` of other ranks and layers; `sd` of another family."""
    directory = tmp_path_factory.mktemp("loras")
    write_lora(directory / "base", seed=1)
    write_lora(directory / "red", seed=2, rank=2, alpha=2, targets="image_attention")
    write_lora(directory / "wide", seed=3, rank=8, alpha=4, targets="all_linear")
    write_lora(directory / "sd", "stable_diffusion_lora", seed=4)
    return directory


@contextlib.contextmanager
def on_a_ray_of_its_own(served_models: Path) -> Iterator[Live]:
    """The service with both models."""
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


_services = contextlib.ExitStack()
_running = list[Live | None]()  # None until it answers


@pytest.fixture
def live(served_models: Path) -> Live:
    """One service for all files that ask for it: it runs until a test comes that does not."""
    if not _running:
        _running.append(None)
        _running[0] = _services.enter_context(on_a_ray_of_its_own(served_models))
    found = _running[0]
    assert found is not None, "the service did not start: see the error of the first test that asked for it"
    return found


@pytest.hookimpl(tryfirst=True)  # before the session's Ray ends, where this was the last test
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Its Ray is the process's: other tests need the place."""
    if "live" not in getattr(nextitem, "fixturenames", ()):
        _running.clear()
        _services.close()
