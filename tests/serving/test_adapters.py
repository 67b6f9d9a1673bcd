"""Adapters by request as clients meet them: over HTTP, on Serve, with the pixels that each draws alone."""

import io
import json
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image
from ray import serve
from safetensors.torch import load_file, save_file

from dermray.client import Client, ServiceError
from dermray.config import validate
from dermray.generators.adapters import LORA_FILE
from dermray.provenance import text
from dermray.serving.adapters import catalogue
from dermray.serving.app import build
from dermray.serving.door import front
from dermray.serving.keys import KEYS_VARIABLE
from dermray.serving.settings import ServiceConfig
from tests.conftest import free_port, ray_of_its_own
from tests.serving.conftest import Live
from tests.serving.models import PROMPT, as_result, drawn_alone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
STEPS = 4


@dataclass(frozen=True)
class Adapted(Live):
    """A base with two adapters, of which one is held at a time; more may be put into `drop`."""

    loras: Path
    drop: Path

    def pixels(self, name: str, seed: int) -> np.ndarray:
        """As the adapter of a name draws alone, or the base."""
        return drawn_alone(self.loras / (name.partition(":")[2] or "base"), PROMPT, seed, STEPS)


@pytest.fixture(scope="module")
def adapted(loras: Path, served_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adapted]:
    place = tmp_path_factory.mktemp("adapted")
    shutil.copytree(loras / "wide", place / "drop" / "wide")
    base = as_result(place / "base", loras / "base", "base0key", ["CC-BY-NC-4.0"])
    red = as_result(place / "red", loras / "red", "red0key0", ["CC-BY-4.0"])
    models = [
        {"task": "generation", "name": "flux", "model": str(base), "steps": STEPS, "adapters": {"red": str(red)},
         "adapters_from": str(place / "drop"), "adapters_held": 1},
        {"task": "generation", "name": "pixel", "model": str(served_models / "generator"), "steps": 3},
    ]  # fmt: skip
    jobs = {"database": f"sqlite:///{place}/jobs.db", "place": f"{place}/images", "at_once": 1}
    port, key = free_port(), secrets.token_urlsafe(8)
    with ray_of_its_own(**{KEYS_VARIABLE: key, front.VARIABLE: front.PATH}):
        serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 120})
        serve.run(build(validate(ServiceConfig, {"models": models, "jobs": jobs})), name="dermray", route_prefix="/")
        yield Adapted(f"http://127.0.0.1:{port}", key, loras, place / "drop")
        serve.shutdown()


@pytest.fixture
def client(adapted: Adapted) -> Iterator[Client]:
    with Client(adapted.url, adapted.key) as opened:
        yield opened


def seen(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def holds() -> list[str]:
    return list(serve.get_deployment_handle("flux", "dermray").holds.remote().result())


def refused(adapted: Adapted, model: str, path: str = "/v1/images/generations") -> tuple[int, str]:
    with adapted.client() as plain:
        answer = plain.post(path, json={"prompt": PROMPT, "model": model})
        return answer.status_code, answer.json()["error"]["message"]


def until(what: Any, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it did not come to that"
        time.sleep(0.02)


def test_each_draws_its_own_pixels_in_any_company_and_after_it_was_let_go(adapted: Adapted, client: Client) -> None:
    names = ["flux", "flux:red", "flux:wide"]
    alone = {(name, seed): adapted.pixels(name, seed) for name in names for seed in (5, 6)}
    assert not np.array_equal(alone["flux:red", 5], alone["flux:wide", 5])
    assert not np.array_equal(alone["flux", 5], alone["flux:red", 5])
    with ThreadPoolExecutor(9) as pool:
        asked = [(name, seed) for _ in range(2) for seed in (5, 6) for name in names]
        drawn = list(pool.map(lambda one: client.generate(PROMPT, model=one[0], seed=one[1]), asked))
    for one, answer in zip(asked, drawn, strict=True):
        assert answer.model == one[0] and np.array_equal(seen(answer.data[0].png), alone[one]), one
    for name in ("flux:red", "flux:wide", "flux:red"):  # one after the other: each is loaded anew
        assert np.array_equal(seen(client.generate(PROMPT, model=name, seed=5).data[0].png), alone[name, 5])
        assert holds() == [name.partition(":")[2]], "one is held"


def test_one_that_is_drawn_with_stays(adapted: Adapted, client: Client) -> None:
    """The other one waits for it, the base does not; and who hangs up lets go."""
    long: list[Any] = []
    easel, many = serve.get_deployment_handle("flux", "dermray"), 250  # steps: seconds also on a quick machine
    asking = threading.Thread(
        target=lambda: long.append(client.generate(PROMPT, model="flux:red", n=4, seed=5, steps=many))
    )
    asking.start()
    until(lambda: long or (easel.at_work.remote().result()[0] == 4 and easel.holds.remote().result() == ["red"]))
    assert np.array_equal(seen(client.generate(PROMPT, model="flux", seed=5).data[0].png), adapted.pixels("flux", 5))
    assert not long
    other = client.generate(PROMPT, model="flux:wide", seed=5)
    asking.join()
    assert np.array_equal(seen(other.data[0].png), adapted.pixels("flux:wide", 5)) and holds() == ["wide"]
    expected = drawn_alone(adapted.loras / "red", PROMPT, 6, many)
    assert np.array_equal(seen(long[0].data[1].png), expected)
    body = {"prompt": PROMPT, "model": "flux:red", "n": 8, "steps": 250}
    with adapted.client() as plain, pytest.raises(httpx.ReadTimeout):
        plain.post("/v1/images/generations", json=body, timeout=1)
    assert np.array_equal(
        seen(client.generate(PROMPT, model="flux:wide", seed=6).data[0].png), adapted.pixels("flux:wide", 6)
    )


def test_they_are_listed_and_images_say_what_drew_them(adapted: Adapted, client: Client) -> None:
    listed = {model.id: model for model in client.models()}
    assert list(listed) == ["flux", "flux:red", "flux:wide", "pixel"]
    red, wide = listed["flux:red"], listed["flux:wide"]
    assert (red.base, red.version, red.licence) == ("flux", "base0key+red0key0", "CC-BY-NC-4.0 AND CC-BY-4.0")
    assert wide.licence == "CC-BY-NC-4.0 AND unknown" and listed["flux"].version == "base0key"
    assert listed["flux"].base is None
    drawn = client.generate(PROMPT, model="flux:red", seed=5)
    said = text.read(drawn.data[0].png)
    assert drawn.licence == said["licence"] == red.licence
    assert (said["model"], said["generator"], said["adapter"]) == ("flux:red", "base0key", "red0key0")
    assert "adapter" not in text.read(client.generate(PROMPT, model="flux", seed=5).data[0].png)
    plain = openai.OpenAI(base_url=f"{adapted.url}/v1", api_key=adapted.key, max_retries=0)
    assert plain.models.retrieve("flux:wide").id == "flux:wide"
    theirs = plain.images.generate(prompt=PROMPT, model="flux:wide", extra_body={"seed": 6})
    ours = client.generate(PROMPT, model="flux:wide", seed=6)
    assert theirs.data is not None and theirs.data[0].b64_json == ours.data[0].b64_json
    with pytest.raises(openai.NotFoundError, match="adapters of flux: flux:red, flux:wide"):
        plain.images.generate(prompt=PROMPT, model="flux:none")


def test_what_is_no_adapter(adapted: Adapted, client: Client) -> None:
    for name in ("none", "", "a:b", "../red", "re d", "ř", "x" * 500, "red@base0key"):
        status, said = refused(adapted, f"flux:{name}")
        assert status == 404 and said.endswith("adapters of flux: flux:red, flux:wide"), said
    assert refused(adapted, "pixel:red") == (
        404,
        "model 'pixel:red' is not served: pixel takes no adapters; there are: pixel",
    )
    assert refused(adapted, "none:red")[0] == refused(adapted, ":red")[0] == 404
    assert refused(adapted, "flux:none", "/v1/jobs")[0] == 404
    with adapted.client() as plain:
        assert [plain.get(f"/v1/models/{name}").status_code for name in ("flux:red", "flux:none", "pixel:red")] == [
            200, 404, 404
        ]  # fmt: skip


def test_a_new_one_needs_no_restart_and_a_wrong_one_harms_no_other(adapted: Adapted, client: Client) -> None:
    shutil.copy(adapted.loras / "red" / LORA_FILE, adapted.drop / "new.safetensors")
    weights = load_file(adapted.loras / "red" / LORA_FILE)
    (adapted.drop / "damaged.safetensors").write_bytes((adapted.loras / "red" / LORA_FILE).read_bytes()[:-9])
    shutil.copytree(adapted.loras / "sd", adapted.drop / "other")
    doubled = {name: value.repeat(1, 2) if ".lora_A" in name else value for name, value in weights.items()}
    save_file(doubled, adapted.drop / "shaped.safetensors", {"ss_base_model_version": "flux1-dev"})
    until(lambda: "flux:new" in [model.id for model in client.models()])
    new = client.generate(PROMPT, model="flux:new", seed=5)
    assert np.array_equal(seen(new.data[0].png), adapted.pixels("flux:red", 5)), "the same weights, as a plain file"
    for name, why in (
        ("damaged", "cut or damaged"),
        ("other", "it expects nano of family stable_diffusion_lora, and flux is of family flux_lora"),
        ("shaped", "in the served base (14 layers differ); its metadata say that it was made for flux1-dev"),
    ):
        status, said = refused(adapted, f"flux:{name}")
        assert status == 409 and said.startswith(f"model 'flux:{name}' cannot be used: ") and why in said, said
        assert "Traceback" not in said and str(adapted.drop) not in said
    assert np.array_equal(seen(client.generate(PROMPT, model="flux:new", seed=5).data[0].png), seen(new.data[0].png))
    for name in ("new", "damaged", "shaped"):
        (adapted.drop / f"{name}.safetensors").unlink()
    shutil.rmtree(adapted.drop / "other")
    until(lambda: [model.id for model in client.models()] == ["flux", "flux:red", "flux:wide", "pixel"])
    with pytest.raises(ServiceError, match="model 'flux:new' is not served") as raised:
        client.generate(PROMPT, model="flux:new")
    assert raised.value.status == 404


def test_jobs_draw_the_same_and_fail_where_their_adapter_is_another_by_then(adapted: Adapted, client: Client) -> None:
    job = client.submit(PROMPT, model="flux:wide", n=3, seed=5)
    *_, done = client.follow(job.id, seconds=0.1)
    assert done.status == "succeeded" and done.model == "flux:wide"
    assert np.array_equal(seen(client.fetch(done.data[1])), adapted.pixels("flux:wide", 6))
    for name in ("turns", "goes"):
        shutil.copy(adapted.loras / "red" / LORA_FILE, adapted.drop / f"{name}.safetensors")
    until(lambda: {"flux:turns", "flux:goes"} <= {model.id for model in client.models()})
    first = client.submit(PROMPT, model="flux", n=400, steps=200)  # there is one runner: the others wait
    waiting = [client.submit(PROMPT, model=f"flux:{name}", n=2) for name in ("turns", "goes")]
    shutil.copy(adapted.loras / "wide" / LORA_FILE, adapted.drop / "turns.safetensors")
    (adapted.drop / "goes.safetensors").unlink()
    time.sleep(catalogue.FRESH + 0.2)
    client.cancel(first.id)
    with adapted.client() as plain:
        until(lambda: all(told(plain, job.id)["status"] == "failed" for job in waiting))
        assert "the model has other weights now" in told(plain, waiting[0].id)["error"]["message"]
        assert "model 'flux:goes' is not served" in told(plain, waiting[1].id)["error"]["message"]
    (adapted.drop / "turns.safetensors").unlink()


def told(plain: httpx.Client, job: str) -> dict[str, Any]:
    return dict(json.loads(plain.get(f"/v1/jobs/{job}").text))
