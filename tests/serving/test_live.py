"""The service on Serve, with small models."""

import base64
import io

import pytest
from PIL import Image

from dermray.datasets.decode import png
from dermray.records import sample_id
from tests.serving.conftest import Live
from tests.serving.models import PROMPT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_images_are_drawn(live: Live) -> None:
    with live.client() as client:
        answer = client.post("/v1/images/generations", json={"prompt": PROMPT, "n": 2, "seed": 11})
        assert answer.status_code == 200, answer.text
        first, second = answer.json()["data"]
        assert Image.open(io.BytesIO(base64.b64decode(first["b64_json"]))).size == (16, 16)
        assert first["b64_json"] != second["b64_json"] and second["seed"] == 12
        again = client.post("/v1/images/generations", json={"prompt": PROMPT, "seed": 12}).json()["data"]
        assert again[0]["b64_json"] == second["b64_json"]


def test_an_image_is_scored(live: Live) -> None:
    image = png(Image.new("RGB", (40, 30), "tan"))
    with live.client() as client:
        answer = client.post("/v1/classifications", files={"image": image})
        assert answer.status_code == 200, answer.text
        assert 0 <= answer.json()["malignant"] <= 1 and answer.json()["sample_id"] == sample_id(image)
        assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["pixel", "resnet"]
        broken = client.post("/v1/classifications", files={"image": b"no image"})
        assert broken.status_code == 400 and broken.json()["error"]["code"] == "bad_image"
