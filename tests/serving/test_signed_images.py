"""A service that signs what it draws, and what it says of a key that does not fit; without Ray."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from dermray.config import validate
from dermray.datasets.decode import decode
from dermray.provenance import reading
from dermray.provenance.settings import SigningConfig
from dermray.serving.app import build
from dermray.serving.generation import Drawing, Generation
from dermray.serving.opening import place_of
from dermray.serving.settings import ServedGenerator, ServiceConfig
from tests.provenance.certificates import Signed, signer
from tests.serving.models import PROMPT, write_generator


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("model") / "pixel"
    write_generator(directory)
    return str(directory)


@pytest.fixture(scope="module")
def signed_by(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    return signer(Path(tmp_path_factory.mktemp("signer")))


def drawn(model: str, signing: SigningConfig | None) -> list[bytes]:
    served = ServedGenerator(task="generation", name="pixel", model=model, steps=2)
    replica = Generation.func_or_class(served, place_of(model, "generation"), signing)  # type: ignore[attr-defined]
    images = asyncio.run(replica.draw(Drawing(PROMPT, [3, 4], 2.0, 2)))
    return [image.png for image in images if image.png]


def test_drawn_images_are_signed_and_their_pixels_stay(model: str, signed_by: Signed) -> None:
    plain, signed = drawn(model, None), drawn(model, validate(SigningConfig, signed_by.config))
    assert len(plain) == len(signed) == 2
    for before, after in zip(plain, signed, strict=True):
        assert np.array_equal(np.asarray(decode(before)), np.asarray(decode(after)))
        assert reading.read(before).state is None
        found = reading.read(after, Path(signed_by.authority).read_text())
        assert found.state == "Trusted" and found.text == reading.read(before).text
        assert found.text["prompt"] == PROMPT and found.text["seed"] in ("3", "4")


def test_a_key_that_does_not_fit_is_told_before_a_service_starts(
    model: str, signed_by: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def service(**signing: str) -> ServiceConfig:
        models = [{"task": "generation", "name": "pixel", "model": model}]
        return validate(ServiceConfig, {"models": models, "provenance": signed_by.config | signing})

    assert build(service())
    with pytest.raises(ValueError, match="not the key of the first certificate"):
        build(service(key=signer(tmp_path).key))
    monkeypatch.chdir(Path(signed_by.key).parent)
    bound = build(service(certificate="chain.pem", key="key.pem"))
    config = bound._bound_deployment.init_args[0]["provenance"]
    assert (config["certificate"], config["key"]) == (signed_by.certificate, signed_by.key), "replicas work elsewhere"
