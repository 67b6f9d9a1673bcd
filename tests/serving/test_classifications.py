"""What POST /v1/classifications answers, asked over HTTP of the service's own application without Ray."""

import asyncio
import base64
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from dermray.classification import saved
from dermray.classification.batches import InMemory
from dermray.classification.predict import _Predict
from dermray.classification.scorers import load_trained
from dermray.classification.targets import Target
from dermray.classification.training import probabilities
from dermray.datasets.decode import decode, png, square
from dermray.records import sample_id
from dermray.serving.api import api_of
from dermray.serving.classification.replica import Classification
from dermray.serving.opening import Place
from dermray.serving.service import Service
from dermray.serving.settings import ServedClassifier, ServiceConfig
from tests.serving.classifiers import ENTITIES, encoded, picture, write_validated
from tests.serving.models import write_classifier

URL, KEY = "/v1/classifications", {"Authorization": "Bearer k"}
IMAGES = [png(picture(seed)) for seed in range(100, 106)]
LIMITS = {"images_scored": 6, "image_bytes": 60_000, "image_pixels": 20_000}


class Handle:
    """A deployment's handle whose replica is here."""

    def __init__(self, replica: Any) -> None:
        self.replica = replica

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.replica, name))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("classifiers")
    write_validated(directory / "binary")
    write_validated(directory / "entity", Target("entity", ENTITIES))
    write_classifier(directory / "before")  # as it was saved before anything but weights was
    return directory


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[TestClient]:
    """The service's own application."""
    names = ("binary", "entity", "before")
    served = [ServedClassifier(task="classification", name=n, model=str(models / n), batch_size=4) for n in names]
    handles = {
        each.name: Handle(Classification.func_or_class(each, Place(each.model, f"v-{each.name}", "CC0-1.0")))  # type: ignore[attr-defined]  # serve.deployment adds it
        for each in served
    }
    config = ServiceConfig(models=tuple(served), limits=LIMITS)  # type: ignore[arg-type]  # pydantic reads a dict
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DERMRAY_API_KEYS", "k")
        with TestClient(api_of(Service(config, handles)), headers=KEY) as client:
            yield client


def files(*images: bytes, name: str = "image") -> list[tuple[str, tuple[str, bytes]]]:
    return [(name, ("lesion", image)) for image in images]


def base64_of(image: bytes) -> str:
    return base64.b64encode(image).decode()


def expected_of(models: Path, name: str, images: list[bytes]) -> np.ndarray:
    """(N, C) probabilities as dermray predict makes them."""
    loaded = saved.load(models / name)
    shown = InMemory(np.stack([square(decode(image), loaded.image_size) for image in images]))
    raw = probabilities(loaded.model, shown, np.arange(len(images)))
    return loaded.validated.calibration.scale(raw) if loaded.validated.calibration else raw


@pytest.mark.parametrize("name", ["binary", "entity", "before"])
def test_dermray_predict_writes_the_same(name: str, client: TestClient, models: Path) -> None:
    """By the actor of the predict stage itself."""
    place = str(models / name)
    actor = _Predict(partial(load_trained, place), "key", False)
    column = actor.scorer.target.column
    names = ("source", "source_id", "split", column)
    rows = {"sample_id": [sample_id(image) for image in IMAGES], "image": IMAGES}
    table = actor(pa.table(rows | {each: pa.nulls(len(IMAGES), pa.string()) for each in names})).to_pylist()
    answer = client.post(URL, files=files(*IMAGES), data={"model": name}).json()
    for row, result in zip(table, answer["data"], strict=True):
        assert (row["sample_id"], row["label"]) == (result["sample_id"], result["predicted"])
        written = {each: row[f"score_{each}"] for each in answer["classes"]}
        assert written == pytest.approx(result["probabilities"], abs=1e-6)


def test_one_image_has_a_short_answer(client: TestClient, models: Path) -> None:
    answer = client.post(URL, files=files(IMAGES[0])).json()
    [result], point = answer["data"], answer["operating_point"]
    assert answer["malignant"] == result["malignant"] == result["probabilities"]["malignant"]
    assert answer["sample_id"] == result["sample_id"] == sample_id(IMAGES[0])
    assert answer["notice"] == "Research software. Not a medical device; not for diagnosis."
    assert (answer["model"], answer["version"], answer["column"]) == ("binary", "v-binary", "malignant")
    assert answer["calibrated"] and answer["temperature"] > 0 and answer["classes"] == ["benign", "malignant"]
    assert point["malignant"] + point["benign"] == 30 and 0 < point["sensitivity"] <= 1
    assert result["malignant"] == pytest.approx(expected_of(models, "binary", IMAGES[:1])[0, 1], abs=1e-6)
    assert (result["predicted"] == "malignant") == (result["malignant"] >= point["threshold"])
    assert answer["predicted"] == result["predicted"] and result["error"] is None and result["saliency"] is None


@pytest.mark.parametrize("name", ["binary", "entity", "before"])
def test_several_images_keep_their_order_and_are_what_predict_says(name: str, client: TestClient, models: Path) -> None:
    answer = client.post(URL, files=files(*IMAGES), data={"model": name}).json()
    found = np.array([[r["probabilities"][c] for c in answer["classes"]] for r in answer["data"]])
    assert np.allclose(found, expected_of(models, name, IMAGES), atol=1e-6)
    assert len(np.unique(found[:, 0].round(9))) == len(IMAGES), "each image has its own"
    assert [r["sample_id"] for r in answer["data"]] == [sample_id(image) for image in IMAGES]
    assert [r["index"] for r in answer["data"]] == list(range(6))
    assert answer["malignant"] is answer["sample_id"] is answer["predicted"] is None
    said = saved.load(models / name).validated
    calibration = said.calibration
    chosen = calibration.decide(found) if calibration else found.argmax(1)
    assert [r["predicted"] for r in answer["data"]] == [answer["classes"][number] for number in chosen]
    assert answer["calibrated"] == (name != "before") and (answer["operating_point"] is not None) == (name == "binary")
    assert all((r["malignant"] is None) == (name == "entity") for r in answer["data"])


def test_a_classifier_of_before_has_nulls(client: TestClient) -> None:
    answer = client.post(URL, files=files(IMAGES[0]), data={"model": "before"}).json()
    assert answer["temperature"] is answer["operating_point"] is answer["data"][0]["out_of_distribution"] is None
    assert answer["calibrated"] is False and 0 <= answer["malignant"] <= 1


def test_strange_images_are_flagged(client: TestClient) -> None:
    answer = client.post(URL, files=files(*IMAGES[:5], png(Image.new("RGB", (40, 40), "lime")))).json()
    told = [result["out_of_distribution"] for result in answer["data"]]
    assert told[-1]["flagged"] and told[-1]["score"] > told[-1]["threshold"] and told[-1]["false_alarm_rate"] < 0.05
    assert sum(each["flagged"] for each in told[:5]) <= 1
    assert all(each["flagged"] == (each["score"] > each["threshold"]) for each in told)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_base64_may_be_broken_into_lines(client: TestClient, end: str) -> None:
    lines = base64.encodebytes(IMAGES[0]).decode().replace("\n", end)
    assert lines.count(end) > 1
    answer = client.post(URL, json={"image": lines})
    assert answer.status_code == 200 and answer.json()["sample_id"] == sample_id(IMAGES[0])


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,", "data:;base64,"])
def test_json_says_the_same_as_a_form(prefix: str, client: TestClient) -> None:
    form = client.post(URL, files=files(*IMAGES[:2], name="images")).json()
    given = [prefix + base64_of(image) for image in IMAGES[:2]]
    assert client.post(URL, json={"images": given}).json()["data"] == form["data"]
    one = client.post(URL, json={"image": given[0], "model": "binary"}).json()
    assert one["malignant"] == pytest.approx(form["data"][0]["malignant"], abs=1e-6)


def test_a_saliency_picture_says_what_it_is(client: TestClient) -> None:
    answer = client.post(URL, files=files(IMAGES[0]), data={"saliency": "true"}).json()
    told = answer["data"][0]["saliency"]
    shown = Image.open(io.BytesIO(base64.b64decode(told["b64_json"])))
    assert shown.format == "PNG" and shown.size == (256, 256)
    assert "occlusion" in told["method"] and told["method"].endswith("It explains the model and not the disease.")
    assert -1 <= told["largest_fall"] <= 1
    refused = client.post(URL, files=files(*IMAGES[:5]), data={"saliency": "1"})
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "saliency"


def test_bad_images_leave_the_others_their_results(client: TestClient, models: Path) -> None:
    broken = IMAGES[2][: len(IMAGES[2]) // 2]
    wide = png(Image.new("RGB", (210, 100), "tan"))
    noise = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (141, 141, 4), dtype=np.uint8)), "PNG")
    assert len(noise) > LIMITS["image_bytes"]
    answer = client.post(URL, files=files(b"", IMAGES[0], broken, noise, wide, IMAGES[1]))
    assert answer.status_code == 200
    results = answer.json()["data"]
    said = [(result["error"] or {}).get("message") for result in results]
    assert said == [
        "image 0: empty file", None, "image 2: truncated or damaged image", "image 3: larger than 60000 bytes",
        "image 4: 210 x 100 px: more than 20000 pixels", None,
    ]  # fmt: skip
    assert [result["error"]["code"] for result in results if result["error"]] == [
        "bad_image", "bad_image", "too_large", "bad_image"
    ]  # fmt: skip
    found = [results[1]["malignant"], results[5]["malignant"]]
    assert np.allclose(found, expected_of(models, "binary", IMAGES[:2])[:, 1], atol=1e-6)
    assert results[0]["probabilities"] is results[0]["malignant"] is None


@pytest.mark.parametrize(
    ("image", "status", "message"),
    [
        (b"", 400, "empty file: send JPEG, PNG, WebP, TIFF, BMP or GIF of at most 20000 pixels"),
        (b"no image", 400, "not an image: expected JPEG, PNG, WebP, TIFF, BMP or GIF: send one of at most"),
        (b"%PDF-1.7", 400, "a PDF document: expected JPEG"),
        (IMAGES[0][:200], 400, "truncated or damaged image"),
        (png(Image.new("RGB", (300, 100))), 400, "300 x 100 px: more than 20000 pixels"),
        (b"x" * 60_001, 413, "image larger than 60000 bytes: send a smaller one"),
    ],
)  # fmt: skip
def test_a_request_without_a_usable_image_is_refused(
    image: bytes, status: int, message: str, client: TestClient
) -> None:
    for answer in (client.post(URL, files=files(image)), client.post(URL, json={"images": [base64_of(image)] * 2})):
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["message"].startswith(message)


@pytest.mark.parametrize("kind", ["animated", "CMYK", "turned"])
def test_odd_images_are_scored_as_predict_would(kind: str, client: TestClient, models: Path) -> None:
    lesion = picture(7)
    exif = Image.Exif()
    exif[0x0112] = 6
    made = {
        "animated": lambda: encoded(lesion, "GIF", save_all=True, append_images=[picture(8)]),
        "CMYK": lambda: encoded(lesion.convert("CMYK"), "JPEG", quality=95),
        "turned": lambda: encoded(lesion, "JPEG", quality=95, exif=exif),
    }[kind]()
    answer = client.post(URL, files=files(made)).json()
    assert answer["malignant"] == pytest.approx(expected_of(models, "binary", [made])[0, 1], abs=1e-6)
    if kind == "turned":
        upright = encoded(decode(made), "PNG")
        assert client.post(URL, files=files(upright)).json()["malignant"] == pytest.approx(
            answer["malignant"], abs=1e-6
        )


@pytest.mark.parametrize(
    ("given", "status", "param", "said"),
    [
        ({"json": {}}, 400, "image", "image: none"),
        ({"json": {"images": []}}, 400, "image", "image: none"),
        ({"json": {"image": "AA", "images": ["AA"]}}, 400, "images", "give one of them"),
        ({"json": {"images": ["AA=="] * 7}}, 400, "images", "at most 6"),
        ({"json": {"image": "", "saliency": "true"}}, 400, "saliency", "saliency: Input should be a valid boolean"),
        ({"json": {"image": "no base64!"}}, 400, "images", "image 0: not base64"),
        ({"json": {"image": "é"}}, 400, "images", "image 0: not base64"),
        ({"json": {"image": "data:image/png,abc"}}, 400, "images", "a data URL without ;base64,"),
        ({"json": {"image": 7}}, 400, "image", "valid string"),
        ({"json": {"image": "AA==", "size": 3}}, 400, "size", "Extra inputs are not permitted"),
        ({"json": {"image": "AA==", "saliency": 3}}, 400, "saliency", "boolean"),
        ({"json": {"image": "AA==", "model": "x"}}, 404, "model", "model 'x' is not served for classification"),
        ({"json": [1]}, 400, None, "object"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, None, "Expecting property"),
        ({"content": b"", "headers": {"content-type": "application/json"}}, 400, None, "body: Expecting value"),
        ({"content": b'{"image": NaN}', "headers": {"content-type": "application/json"}}, 400, None, ""),
        ({"content": b'{"image": "\\ud800"}', "headers": {"content-type": "application/json"}}, 400, None, "surrogate"),
        ({"content": b"[" * 9999, "headers": {"content-type": "application/json"}}, 400, None, "at most 32 levels"),
        ({"content": b"x"}, 415, None, "Content-Type: expected multipart/form-data or application/json"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, None, "Content-Type: expected"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "content-type", "boundary"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, None, "damaged"),
        ({"content": b"", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, None, "last boundary"),
        ({"files": files(*IMAGES, IMAGES[0])}, 400, "images", "at most 6"),
        ({"files": files(*[b"x"] * 15)}, 400, "images", "more than 14 parts"),
        ({"files": files(IMAGES[0], name="picture")}, 400, "picture", "field 'picture': expected image"),
        ({"files": files(IMAGES[0]), "data": {"saliency": "yes"}}, 400, "saliency", "expected true or false"),
        ({"files": files(IMAGES[0]), "data": {"model": "pixel"}}, 404, "model", "there are: binary, entity, before"),
    ],
)  # fmt: skip
def test_odd_requests_are_told_what_is_wrong(
    given: dict[str, Any], status: int, param: str | None, said: str, client: TestClient
) -> None:
    answer = client.post(URL, **given)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert said in error["message"] and (param is None or error["param"] == param), error
    assert len(answer.content) < 500, "the input is not sent back"


def test_a_form_that_ends_early_is_refused(client: TestClient) -> None:
    whole = client.build_request("POST", URL, files=files(IMAGES[0]))
    body, kind = whole.read(), whole.headers["content-type"]
    for end in (len(body) - 6, len(body) // 2, 60):
        answer = client.post(URL, content=body[:end], headers={"content-type": kind})
        assert answer.status_code == 400 and "multipart" in answer.json()["error"]["message"], end
    assert client.post(URL, content=body, headers={"content-type": kind}).status_code == 200


def test_what_several_clients_ask_at_once_is_not_mixed_up(client: TestClient, models: Path) -> None:
    """Requests of one, two and three images share calls and batches."""
    expected = expected_of(models, "binary", IMAGES)[:, 1]
    way = client.app.state.service.ways["binary"]  # type: ignore[attr-defined]  # FastAPI's

    async def ask() -> list[Any]:
        parts = [IMAGES[first : first + count] for first in range(4) for count in (1, 2, 3)]
        return list(zip(parts, await asyncio.gather(*(way.score(part) for part in parts)), strict=True))

    assert client.portal is not None
    for part, (about, scores) in client.portal.call(ask):
        assert about.version == "v-binary"
        wanted = [expected[IMAGES.index(image)] for image in part]
        assert np.allclose([score.probabilities[1] for score in scores], wanted, atol=1e-6)
