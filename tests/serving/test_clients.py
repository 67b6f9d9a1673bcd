"""Plain HTTP, and OpenAI's own clients, unchanged, against the service on Serve, with small models."""

import asyncio
import base64
import io
import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import httpx
import openai
import pytest
from PIL import Image
from ray import serve

from dermray.client import (
    AsyncClient,
    Classification,
    Client,
    Generation,
    ImageScores,
    Model,
    ServiceError,
    SyntheticImage,
)
from dermray.client.questions import Drawing
from dermray.datasets.decode import png
from dermray.records import sample_id
from tests.serving.conftest import Live
from tests.serving.models import PROMPT, text_of
from tests.serving.web.browsers import launched, program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def client(live: Live) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key=live.key, max_retries=0)


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


def test_a_browser_draws_and_scores_through_serve(live: Live, tmp_path: Path) -> None:
    """The page over Serve's own proxy: its events come as they happen, and its policy lets it do all that it does."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
    if program() is None:
        pytest.skip("no chromium: apt-get install chromium; the page was not tested in a browser")
    (tmp_path / "lesion.png").write_bytes(png(Image.new("RGB", (40, 30), "tan")))
    with launched() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(live.url)
        page.get_by_label("API key", exact=True).fill(live.key)
        page.get_by_role("button", name="Continue").click()
        page.get_by_label("Attribute", exact=True).select_option("Skin tone")
        page.get_by_label("Prompt", exact=True).fill("red.")
        page.get_by_label("Images", exact=True).fill("1")
        page.get_by_role("button", name="Draw").click()
        page.get_by_text("Done: 3 images.").wait_for()
        assert page.locator("#gallery img").count() == 3
        page.get_by_role("link", name="Classify").click()
        page.get_by_role("heading", name="Classify").wait_for()  # hidden fields take files before anybody listens
        page.set_input_files("#c-files", tmp_path / "lesion.png")
        page.get_by_role("button", name="Score").click()
        page.get_by_text("Scored 1 image.").wait_for()
        assert any(url.endswith("/events") for url in asked)
        assert all(url.startswith((live.url, "blob:", "data:")) for url in asked)


def test_models_one_by_one_and_all(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["pixel", "resnet"]
    assert client.models.retrieve("resnet").id == "resnet"
    with pytest.raises(openai.NotFoundError, match="model 'none' is not served; there are: pixel, resnet"):
        client.models.retrieve("none")


def test_images_in_both_forms(client: openai.OpenAI) -> None:
    drawn = client.images.generate(
        prompt=PROMPT, model="pixel", n=2, size="16x16", response_format="b64_json", quality="auto", user="someone",
        output_format="png", background="auto", moderation="auto", extra_body={"seed": 9007199254740991 - 1},
    )  # fmt: skip
    assert drawn.data is not None and len(drawn.data) == 2
    image = base64.b64decode(drawn.data[0].b64_json or "")
    said = text_of(image)
    assert said["prompt"] == PROMPT and said["seed"] == "9007199254740990" and said["origin"] == "synthetic"
    assert {"licence", "generator", "family", "steps", "guidance_scale", "model"} <= said.keys()
    linked = client.images.generate(
        prompt=PROMPT, size="auto", response_format="url", extra_body={"seed": 9007199254740990}
    )
    assert linked.data is not None and linked.data[0].b64_json is None
    fetched = httpx.get(linked.data[0].url or "")
    assert fetched.content == image and fetched.headers["content-type"] == "image/png"
    gone = httpx.get((linked.data[0].url or "").replace(".png", "x.png"))
    assert gone.status_code == 404 and gone.json()["error"]["code"] == "image_not_found"


def test_attributes_are_written_as_training_captions(client: openai.OpenAI) -> None:
    attributes = {"malignant": True, "skin_tone": "B"}
    drawn = client.images.generate(prompt="red.", extra_body={"attributes": attributes, "seed": 3})
    same = client.images.generate(prompt="malignant, skin tone B: red.", extra_body={"seed": 3})
    assert drawn.data is not None and same.data is not None
    assert drawn.data[0].revised_prompt == PROMPT and drawn.data[0].b64_json == same.data[0].b64_json


@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"size": "1024x1024"}, "size", "pixel draws 16x16"),
        ({"size": "16x32"}, "size", "pixel draws 16x16"),
        ({"n": 1000}, "n", "at most 8"),
        ({"extra_body": {"steps": 1000}}, "steps", "at most 250"),
        ({"extra_body": {"seed": 1 << 53}}, "seed", "9007199254740992"),
        ({"extra_body": {"guidance_scale": -1}}, "guidance_scale", "greater than or equal to 0"),
        ({"extra_body": {"negative_prompt": "hair"}}, "negative_prompt", "cannot be led away"),
        ({"extra_body": {"attributes": {"skin_tone": "Z"}}}, "attributes.skin_tone", "'A', 'B' or 'C'"),
        ({"output_format": "webp"}, "output_format", "'png'"),
        ({"quality": "hd"}, "quality", "'auto' or 'standard'"),
        ({"style": "vivid"}, "style", "not permitted"),
        ({"background": "transparent"}, "background", "'opaque'"),
        ({"prompt": ""}, "prompt", "or attributes"),
    ],
)
def test_wrong_values_are_bad_requests_that_name_the_field(
    client: openai.OpenAI, wrong: dict[str, object], field: str, said: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=said) as error:
        client.images.generate(**({"prompt": PROMPT} | wrong))  # type: ignore[call-overload]
    assert error.value.param == field


def test_models_and_other_errors(client: openai.OpenAI, live: Live) -> None:
    assert [model.id for model in client.models.list()] == ["pixel", "resnet"]
    with pytest.raises(openai.NotFoundError, match="model 'dall-e-3' is not served"):
        client.images.generate(prompt=PROMPT, model="dall-e-3")
    with pytest.raises(openai.AuthenticationError, match="API key not accepted"):
        openai.OpenAI(base_url=f"{live.url}/v1", api_key="wrong", max_retries=0).models.list()


def test_a_long_request_blocks_nobody_and_leaves_when_its_client_does(client: openai.OpenAI, live: Live) -> None:
    long = {"prompt": PROMPT, "n": 8, "steps": 250, "seed": 5}

    def ask(timeout: float) -> None:
        with live.client() as http, pytest.raises(httpx.ReadTimeout):
            http.post("/v1/images/generations", json=long, timeout=timeout)

    replica = serve.get_deployment_handle("pixel", "dermray")
    before = replica.at_work.remote().result()[1]
    asking = threading.Thread(target=ask, args=(0.7,))
    asking.start()
    time.sleep(0.2)
    began = time.monotonic()
    assert list(client.models.list())
    short = client.images.generate(prompt=PROMPT, extra_body={"seed": 5, "steps": 2})
    between = time.monotonic() - began
    asking.join()
    for _ in range(100):
        left, steps = replica.at_work.remote().result()
        if left == 0:
            break
        time.sleep(0.1)
    assert left == 0 and steps - before < 8 * 250, "it was not drawn to its end"
    alone = client.images.generate(prompt=PROMPT, extra_body={"seed": 5, "steps": 2})
    assert short.data is not None and alone.data is not None
    assert short.data[0].b64_json == alone.data[0].b64_json, "the same bits beside it and alone"
    assert between < 10


def test_the_node_client(live: Live, tmp_path: Path) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no Node here")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "openai"]
    try:
        subprocess.run(install, cwd=tmp_path, check=True, timeout=120, capture_output=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"npm reaches no registry: {error}")
    shutil.copy(Path(__file__).parent / "openai_client.mjs", tmp_path)
    command = ["node", "openai_client.mjs", live.url, live.key]
    ran = subprocess.run(command, cwd=tmp_path, timeout=120, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["models"] == ["pixel", "resnet"] and said["images"] == 2 and said["same"]
    assert said["fetched"] == [200, "image/png", True]
    assert said["wrong"].startswith("BadRequestError: 400") and "pixel draws 16x16" in said["wrong"]
    assert said["unknown"].startswith("NotFoundError: 404") and said["key"].startswith("AuthenticationError: 401")


def test_our_client_draws_and_scores(live: Live, tmp_path: Path) -> None:
    with Client(live.url, live.key) as ours:
        assert [(model.id, model.task) for model in ours.models()] == [
            ("pixel", "generation"), ("resnet", "classification")
        ]  # fmt: skip
        drawn = ours.generate(PROMPT, n=2, seed=11, steps=2)
        assert [image.seed for image in drawn.data] == [11, 12] and drawn.data[1].image().size == (16, 16)
        drawn.data[0].save(tmp_path / "drawn.png")
        assert text_of((tmp_path / "drawn.png").read_bytes())["seed"] == "11"
        assert drawn.data[0].sample_id == sample_id(drawn.data[0].png)
        told = ours.classify(tmp_path / "drawn.png", b"no image", drawn.data[1].image(), saliency=True)
        assert told.data[1].error and told.data[1].error["code"] == "bad_image"
        assert told.data[0].malignant is not None and 0 <= told.data[0].malignant <= 1 and told.data[2].saliency
        many = ours.classify(*[drawn.data[0].png] * 70)
        assert [scores.index for scores in many.data] == list(range(70))
        assert all(abs((scores.malignant or 0) - told.data[0].malignant) < 1e-4 for scores in many.data)
        with pytest.raises(ServiceError, match="model 'none' is not served for generation") as raised:
            ours.generate(PROMPT, model="none")
        assert raised.value.status == 404 and raised.value.request_id
    with Client(live.url, "another key") as stranger, pytest.raises(ServiceError, match="^401: "):
        stranger.models()


def test_our_client_for_asyncio_draws_the_same(live: Live) -> None:
    async def drawn(client: AsyncClient, seed: int) -> str:
        attributes = {"malignant": True, "skin_tone": "B"}
        return (await client.generate(PROMPT, attributes=attributes, seed=seed)).data[0].sample_id

    async def all_drawn() -> list[str]:
        async with AsyncClient(live.url, live.key) as client:
            assert (await client.classify(png(Image.new("RGB", (40, 30), "tan")))).column == "malignant"
            return await asyncio.gather(*(drawn(client, seed) for seed in (1, 2, 1)))

    first, second, again = asyncio.run(all_drawn())
    assert first == again != second


def test_our_client_knows_every_field_of_the_service(live: Live) -> None:
    """`Drawing` has what a request may hold, but for fields that OpenAI's clients send and that change nothing here."""
    with live.client() as plain:
        schemas = plain.get("/openapi.json").json()["components"]["schemas"]
    asked = set(schemas["GenerationRequest"]["properties"])
    ignored = {"user", "safety_identifier", "output_format", "output_compression", "quality", "background",
               "moderation", "stream", "partial_images", "response_format"}  # fmt: skip
    assert asked - ignored == {"prompt", *Drawing.__annotations__}
    for answer, name in ((Generation, "GenerationResponse"), (SyntheticImage, "GeneratedImage"), (Model, "Model"),
                         (Classification, "ClassificationResponse"), (ImageScores, "ImageResult")):  # fmt: skip
        assert set(answer.model_fields) <= set(schemas[name]["properties"]), name
        assert set(schemas[name].get("required", [])) <= set(answer.model_fields) | {"created", "index"}, name
