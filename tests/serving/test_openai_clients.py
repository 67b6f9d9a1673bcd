"""OpenAI's own clients, unchanged, against the service."""

import base64
import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import httpx
import openai
import pytest
from ray import serve

from tests.serving.conftest import Live
from tests.serving.models import PROMPT, text_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def client(live: Live) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key=live.key, max_retries=0)


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
