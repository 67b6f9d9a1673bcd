"""What POST /v1/captions answers, asked over HTTP of the service's own application with a stand-in for the engine."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from benchmarks.stand_in_engine import TEXT
from dermray.captioning import prompts
from dermray.captioning.engine import ANSWERED
from dermray.captioning.finish import Finish
from dermray.captioning.prepare import Prepare
from dermray.captioning.settings import Sampling
from dermray.datasets.decode import png
from dermray.records import CAPTIONED, conform, sample_id
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.captions.work import Unanswered
from dermray.serving.keys import Key, Keys, digest
from tests.serving.captions.stand_in import KEY, StandIn, application, columns
from tests.serving.classifiers import encoded, picture

URL = "/v1/captions"
IMAGES = [png(picture(seed)) for seed in range(6)]
LIMITS: dict[str, Any] = {"images_scored": 6, "image_bytes": 60_000, "image_pixels": 20_000, "caption_tokens": 64}
MODEL = ServedCaptioner(task="captioning", name="nano", model="/model")
TOLD = {"malignant": True, "skin_tone": "B", "sex": "female", "age": 61, "site": "back", "diagnosis": "mel",
        "entity": "mel", "modality": "dermoscopic"}  # fmt: skip
# Whatever a captioner may say: usable, and rejected for each of the reasons that there are.
SAID = (
    columns(), columns("I'm sorry, but I can't help with that."), columns(""), columns(TEXT, "length"),
    columns("red and blue " * 20), columns("A picture of a table."), {"engine_error": "ValueError: no", "requests": 1},
    columns(json.dumps({"asymmetry": "asymmetric", "border": "smooth", "colours": ["red"], "structures": [],
                        "skin_tone": "B", "description": "A red lesion."})),
    columns('{"asymmetry": "both"}'),
    columns(json.dumps([{"question": "a?", "answer": "A brown lesion."}, {"question": "b?", "answer": "None."}])),
    columns(json.dumps([{"question": "a?", "answer": "The patient is a 61 year old."}] * 2)),
)  # fmt: skip


@pytest.fixture
def host() -> StandIn:
    return StandIn()


@pytest.fixture
def client(host: StandIn) -> Iterator[TestClient]:
    with TestClient(application(MODEL, host, **LIMITS), headers=KEY) as client:
        yield client


def files(*images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", ("lesion", image)) for image in images]


def test_one_image_has_a_short_answer(client: TestClient, host: StandIn) -> None:
    answer = client.post(URL, files=files(IMAGES[0]), data={"metadata": json.dumps(TOLD)}).json()
    [said] = answer["data"]
    assert answer["caption"] == said["caption"] == f"malignant, skin tone B: {TEXT}"
    assert (answer["status"], answer["reason"], said["answer"]) == ("ok", None, TEXT)
    assert (said["said_asymmetry"], said["said_colours"], said["tokens_in"], said["finish_reason"]) == (
        True, ["red"], 80, "stop",
    )  # fmt: skip
    assert (answer["captioner"], answer["captioner_revision"], answer["prompt_set"]) == ("nano", "abc", "abc")
    assert answer["prompt_version"] == prompts.version("abc") and said["sample_id"] == sample_id(IMAGES[0])
    [(shown, question, manner)] = host.asked
    assert shown == IMAGES[0] and question == prompts.render("abc", {}) and manner.schema is None
    assert said["prompt_hash"] == prompts.prompt_hash(question)
    assert answer["sampling"] == Sampling().model_dump() and "not for diagnosis" in answer["notice"]


@pytest.mark.parametrize("name", prompts.NAMES)
def test_rows_are_those_of_the_caption_stage(name: str, client: TestClient, host: StandIn) -> None:
    """Every prompt set, every kind of answer, every kind of image: through `Prepare` and `Finish` on tables, as Ray
    Data calls them, and through HTTP."""
    odd = [encoded(picture(1, 50, 40), "GIF"), IMAGES[2][:300], IMAGES[3], b"no image"]
    for said in SAID:
        host.said = lambda shown, question, said=said: dict(said)  # type: ignore[misc]
        rows = [TOLD | {"image": image, "sample_id": sample_id(image), "status": "ok"} for image in odd]
        table = Prepare(name, MODEL.image_side)(conform(rows, pa.schema(CAPTIONED)))
        readable = table["unreadable"].is_null().to_pylist()
        for column, kind in ANSWERED:
            table = table.append_column(
                column, pa.array([said.get(column) if fine else None for fine in readable], kind)
            )
        constants = {"captioner": "nano", "captioner_revision": "abc", "sampling": Sampling().model_dump_json()}
        expected = Finish(name, MODEL.metadata, constants)(table).to_pylist()
        given = {"prompt_set": name, "metadata": json.dumps(TOLD)}
        answer = client.post(URL, files=files(*odd), data=given).json()
        for row, found in zip(expected, answer["data"], strict=True):
            found.pop("index")
            assert found == {column: row[column] for column in found}
        assert f"{answer['prompt_set']}@{answer['prompt_version']}" == expected[0]["prompt_set"]
        assert answer["data"][1]["reason"] == "truncated or damaged image" and answer["data"][3]["status"] == "rejected"


def test_guided_decoding_and_sampling_reach_the_engine(host: StandIn) -> None:
    given = {"prompt_set": "structured", "max_tokens": "60", "temperature": "0.5", "seed": "7"}
    on_gpus = MODEL.model_copy(update={"gpus_per_replica": 1})
    with TestClient(application(on_gpus, host, **LIMITS), headers=KEY) as client:
        answer = client.post(URL, files=files(IMAGES[0]), data=given)
    assert answer.status_code == 200 and answer.json()["reason"].startswith("invalid JSON")
    [(_, _, manner)] = host.asked
    assert manner.schema == prompts.prompt_set("structured").schema
    assert manner.sampling == Sampling(max_tokens=60, temperature=0.5, seed=7)
    assert answer.json()["sampling"] == {"max_tokens": 60, "temperature": 0.5, "seed": 7, "top_p": 1.0}


def test_json_says_the_same_as_a_form(client: TestClient) -> None:
    images = [base64.b64encode(image).decode() for image in IMAGES[:2]]
    each = [{"malignant": False}, {"malignant": True, "age": 60.5}]
    form = client.post(URL, files=files(*IMAGES[:2]), data={"prompt_set": "abc-label", "metadata": json.dumps(each)})
    as_json = client.post(URL, json={"images": images, "prompt_set": "abc-label", "metadata": each, "seed": 0})
    assert form.status_code == 200 and form.json() == as_json.json()
    assert [said["caption"][:6] for said in form.json()["data"]] == ["benign", "malign"]
    assert len({said["prompt_hash"] for said in form.json()["data"]}) == 2


def test_large_images_are_shown_smaller_and_bombs_are_not_decoded(client: TestClient, host: StandIn) -> None:
    bomb = png(Image.new("RGB", (300, 100)))
    noise = b"\x89PNG" + bytes(60_001)
    answer = client.post(URL, files=files(bomb, IMAGES[0], noise)).json()
    assert [(said["status"], said["reason"]) for said in answer["data"]] == [
        ("rejected", "300 x 100 px: more than 20000 pixels"), ("ok", None), ("rejected", "larger than 60000 bytes"),
    ]  # fmt: skip
    assert len(host.asked) == 1
    small = MODEL.model_copy(update={"image_side": 16})
    with TestClient(application(small, host, **LIMITS), headers=KEY) as shrinking:
        shrinking.post(URL, files=files(IMAGES[0]))
    assert Image.open(io.BytesIO(host.asked[-1][0])).size == (16, 12)


@pytest.mark.parametrize(
    ("given", "status", "param", "said"),
    [
        ({"json": {}}, 400, "image", "image: none; send a file of JPEG"),
        ({"json": {"image": "AA==", "prompt_set": "abcd"}}, 400, "prompt_set",
         "prompt_set='abcd': there are abc, abc-label, attributes-2, attributes-5, clinical-qa, structured"),
        ({"files": files(IMAGES[0]), "data": {"prompt_set": "abcd"}}, 400, "prompt_set", "there are abc, abc-label"),
        ({"files": files(IMAGES[0]), "data": {"prompt_set": "abc-label"}}, 400, "metadata",
         "metadata of image 0: prompt_set=abc-label tells the captioner malignant; give one of these at least"),
        ({"json": {"images": ["AA=="] * 2, "prompt_set": "attributes-2", "metadata": [{"skin_tone": "A"}, {"age": 3}]}},
         400, "metadata", "metadata of image 1: prompt_set=attributes-2 tells the captioner malignant or skin_tone"),
        ({"json": {"image": "AA==", "metadata": [{}, {}]}}, 400, "metadata", "2 objects for 1 images"),
        ({"json": {"image": "AA==", "metadata": {"tone": "A"}}}, 400, None, "Extra inputs are not permitted"),
        ({"json": {"image": "AA==", "metadata": {"malignant": 1}}}, 400, None, "valid boolean"),
        ({"json": {"image": "AA==", "metadata": [{"age": 130}]}}, 400, "metadata.0.age", "less than or equal to 120"),
        ({"files": files(IMAGES[0]), "data": {"metadata": "{"}}, 400, "metadata", "metadata: Expecting"),
        ({"files": files(IMAGES[0]), "data": {"metadata": '{"age": NaN}'}}, 400, "metadata", "metadata: NaN"),
        ({"files": files(IMAGES[0]), "data": {"metadata": '{"sex": "m"}'}}, 400, "metadata.sex", "'female' or 'male'"),
        ({"files": files(IMAGES[0]), "data": {"metadata": "x" * 70_000}}, 400, "metadata", "at most 65536 bytes"),
        ({"files": files(IMAGES[0]), "data": {"max_tokens": "65"}}, 400, "max_tokens",
         "max_tokens=65: expected at most 64"),
        ({"files": files(IMAGES[0]), "data": {"max_tokens": "many"}}, 400, "max_tokens", "valid integer"),
        ({"json": {"image": "AA==", "max_tokens": "5"}}, 400, "max_tokens", "valid integer"),
        ({"json": {"image": "AA==", "temperature": 2.5}}, 400, "temperature", "less than or equal to 2"),
        ({"json": {"image": "AA==", "temperature": 0.5}}, 400, "temperature", "this model runs on CPUs"),
        ({"files": files(IMAGES[0]), "data": {"seed": "-1"}}, 400, "seed", "greater than or equal to 0"),
        ({"files": files(IMAGES[0]), "data": {"model": "pixel"}}, 404, "model", "not served for captioning"),
        ({"files": files(IMAGES[0]), "data": {"saliency": "true"}}, 400, "saliency", "expected image (repeated"),
        ({"files": files(*IMAGES, IMAGES[0])}, 400, "images", "at most 6"),
        ({"files": files(b"no image")}, 400, "image", "not an image: expected JPEG"),
        ({"files": files(b"")}, 400, "image", "empty file: send JPEG"),
        ({"files": files(png(Image.new("RGB", (300, 100))))}, 400, "image", "more than 20000 pixels: send"),
        ({"files": files(b"x" * 60_001)}, 413, "image", "larger than 60000 bytes: send a smaller one"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, None, "Content-Type: expected"),
    ],
)  # fmt: skip
def test_odd_requests_are_told_what_is_wrong(
    given: dict[str, Any], status: int, param: str | None, said: str, client: TestClient, host: StandIn
) -> None:
    answer = client.post(URL, **given)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert said in error["message"] and (param is None or error["param"] == param), error
    assert len(answer.content) < 600 and not host.asked


def test_max_tokens_leaves_room_for_the_question() -> None:
    model = MODEL.model_copy(update={"engine": MODEL.engine.model_copy(update={"max_model_len": 64})})
    with TestClient(application(model, StandIn()), headers=KEY) as client:
        answer = client.post(URL, files=files(IMAGES[0]), data={"max_tokens": "64"})
    assert answer.status_code == 400 and "max_tokens=64: expected at most 63" in answer.text


def test_keys_have_a_scope_and_images_a_day(host: StandIn) -> None:
    keys = Keys([])
    keys._of_file = (
        Key(name="few", hash=digest("f" * 32), scopes=("caption",), images_per_day=2),
        Key(name="scorer", hash=digest("s" * 32), scopes=("classify", "generate")),
    )
    with TestClient(application(MODEL, host, keys)) as client:

        def ask(key: str) -> Any:
            return client.post(URL, files=files(*IMAGES[:2]), headers={"Authorization": f"Bearer {key * 32}"})

        assert [ask("f").status_code, ask("f").status_code, ask("s").status_code] == [200, 429, 403]
        assert "this key may not caption: its scopes are classify, generate" in ask("s").text


def test_a_dead_engine_is_503_until_another_is_there(client: TestClient, host: StandIn) -> None:
    host.said = lambda shown, question: Unanswered(503, "the captioner's engine has died")
    met = client.post(URL, files=files(*IMAGES[:3]))
    assert (met.status_code, met.headers["retry-after"]) == (503, "5") and "has died" in met.text
    host.dead = True
    asked = len(host.asked)
    meanwhile = client.post(URL, files=files(IMAGES[0]))
    assert (meanwhile.status_code, meanwhile.headers["retry-after"]) == (503, "5") and len(host.asked) == asked
    assert "nano is not ready" in meanwhile.json()["error"]["message"]
    ready = client.get("/readyz")
    assert ready.status_code == 503 and "nano" in ready.text
    assert client.get("/v1/models").json()["data"][0]["prompt_sets"][0] == "abc"


def test_models_lists_it(client: TestClient) -> None:
    told = client.get("/v1/models/nano").json()
    assert (told["task"], told["image_size"]) == ("captioning", 1024)
    assert sorted(told["prompt_sets"]) == sorted(prompts.NAMES) and client.get("/readyz").status_code == 200
