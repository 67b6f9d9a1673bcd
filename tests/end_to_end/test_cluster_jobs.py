"""A running cluster with token auth: jobs submitted as the README shows, the Serve config deployed and called."""

import base64
import contextlib
import io
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml
from PIL import Image

from dermray import manifest
from dermray.datasets.decode import decode, png
from dermray.datasets.renderer import draw_phantoms
from dermray.records import read_columns, sample_id
from tests.chaos import STARTS
from tests.conftest import end_family, free_port
from tests.datasets.test_decode import ADOBE_RGB, huge_png
from tests.quickstart import ROOT, Quickstart, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
BIN = Path(sys.executable).parent
KEY = "test-key"


class Cluster:
    """A head node started as a user starts it."""

    def __init__(self, dashboard: int, gcs: int, environment: dict[str, str]) -> None:
        self.dashboard, self.gcs, self.environment = dashboard, gcs, environment

    def ray(self, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / arguments[0]), *arguments[1:]]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def submit(self, job: str, *arguments: str) -> None:
        """As in the README."""
        address = f"http://127.0.0.1:{self.dashboard}"
        entry = ["--working-dir", ".", "--", "python", f"jobs/{job}.py", *arguments]
        done = self.ray("ray", "job", "submit", "--address", address, *entry)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("home")
    gcs, dashboard = free_port(), free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") or k == "RAY_TMPDIR"}
    environment |= {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "DERMRAY_API_KEYS": KEY, "HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}", "RAY_ADDRESS": f"127.0.0.1:{gcs}", "RAY_USAGE_STATS_ENABLED": "0",
        "VLLM_CACHE_ROOT": str(Path.home() / ".cache" / "vllm"),  # what vLLM found out about its models
    }  # fmt: skip
    head = [str(BIN / "ray"), "start", "--head", "--block", f"--port={gcs}", f"--dashboard-port={dashboard}",
            "--num-cpus=8", f"--ray-client-server-port={free_port()}", f"--dashboard-agent-listen-port={free_port()}",
            "--object-store-memory=1000000000"]  # fmt: skip
    starting = {k: v for k, v in environment.items() if k != "RAY_ADDRESS"}
    process = _started(head, starting, home / "head.log")
    wait_for(lambda: _answers(f"http://127.0.0.1:{dashboard}/api/version"), 90)
    yield Cluster(dashboard, gcs, environment)
    end_family(process)


def _started(head: list[str], environment: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
    """A head whose raylet is up. Ray gives that up after seconds which it lets nobody choose: a busy machine needs
    another try."""
    for _ in range(STARTS):
        with log.open("w") as file:
            process = subprocess.Popen(
                head, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        wait_for(lambda: "Ray runtime started" in log.read_text() or process.poll() is not None, 180)  # noqa: B023
        if process.poll() is None:
            return process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it left
    raise AssertionError(log.read_text())


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=5)
        return True
    except httpx.HTTPError:
        return False


def test_the_jobs_api_asks_for_the_token(cluster: Cluster) -> None:
    assert httpx.get(f"http://127.0.0.1:{cluster.dashboard}/api/jobs/", timeout=20).status_code == 401


def test_all_stages_as_submitted_jobs(
    cluster: Cluster, quickstart: Quickstart, nano_captioner: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Images to captions; and captions, those of the quickstart, to classifiers."""
    run, rows = tmp_path_factory.mktemp("jobs"), f"rows={quickstart.directory}/caption"
    jobs = [
        ("ingest", "ingest/phantom", ["sources=[{source: phantom, count: 200, size: 64, seed: 4}]"]),
        ("caption", "caption/nano", [f"rows={run}/ingest", f"captioner={nano_captioner}"]),
        ("train", "train/pixel_dermdit_nano", [rows, "loop.steps=4", "loop.batch_size=8", "loop.workers=1",
                                         "model={image_size: 32, width: 32, blocks: 1}"]),
        ("generate", "generate/nano", [rows, f"generator={run}/train", "count=24", "sampling_steps=2",
                                       "gate={false_rate: 0, training_steps: 10, planted: 2}", "actors=1"]),
        ("sweep", "sweep/nano", [rows, f"synthetic={run}/generate", "real_images=8", "seeds=2", "training.steps=10",
                                 "resamples=20", "backbones=[{name: test_resnet, learning_rate: 6.0e-3}]",
                                 "arms={ratios: [1], synthetic_only: [], shuffled: [], more_real: []}"]),
    ]  # fmt: skip
    for name, preset, overrides in jobs:
        cluster.submit(name, "--config", preset, f"output={run}/{name}", *overrides)
    assert manifest.read(f"{run}/caption").manifest.metrics["attribute_accuracy"]["mean"] > 0.85
    assert len(manifest.read(f"{run}/sweep").manifest.metrics["trials"]) == 4
    assert {path.parent.name for path in run.glob("*/manifest.json")} == {job[0] for job in jobs}


def test_a_failing_job_says_why_and_fails(cluster: Cluster, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{cluster.dashboard}"
    done = cluster.ray("ray", "job", "submit", "--address", address, "--working-dir", ".", "--",
                       "python", "jobs/train.py", "--config", "train/pixel_dermdit_nano", "output=runs/x",
                       f"rows={tmp_path}")  # fmt: skip
    assert done.returncode != 0
    assert "no finished result" in done.stdout + done.stderr


@pytest.fixture(scope="module")
def service(cluster: Cluster, quickstart: Quickstart, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The repository's Serve config with this run's path and a free port."""
    config = yaml.safe_load((ROOT / "serve_configs" / "dermray.yaml").read_text())
    port = free_port()
    config["http_options"]["port"] = port
    config["applications"][0]["args"]["run"] = str(quickstart.directory)
    path = tmp_path_factory.mktemp("serve") / "dermray.yaml"
    path.write_text(yaml.safe_dump(config))
    done = cluster.ray("serve", "deploy", "--address", f"http://127.0.0.1:{cluster.dashboard}", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    url = f"http://127.0.0.1:{port}"
    wait_for(lambda: _healthy(url), 180)
    return url


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


HEADERS = {"Authorization": f"Bearer {KEY}"}
PROMPT = "malignant, skin tone A: asymmetric lesion, irregular border, black."


def draw(url: str, post: Callable[..., httpx.Response] = httpx.post, **body: object) -> httpx.Response:
    return post(f"{url}/v1/images/generations", json={"prompt": PROMPT} | body, headers=HEADERS, timeout=60)


def test_generation_over_http(service: str) -> None:
    answer = draw(service, n=2, seed=11, steps=5)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["model"].startswith("pixel_dermdit-") and body["origin"] == "synthetic" and body["licence"] == "CC0-1.0"
    images = [base64.b64decode(d["b64_json"]) for d in body["data"]]
    assert [Image.open(io.BytesIO(i)).size for i in images] == [(32, 32)] * 2
    assert [d["sample_id"] for d in body["data"]] == [sample_id(i) for i in images]
    again = draw(service, n=1, seed=12, steps=5).json()["data"][0]
    assert again["seed"] == body["data"][1]["seed"] == 12


def test_classification_over_http(service: str, quickstart: Quickstart) -> None:
    rows = f"{manifest.read(str(quickstart.directory / 'ingest')).data}/rows"
    image = next(i for i in read_columns(rows, ["image", "status"]).to_pylist() if i["status"] == "ok")["image"]
    answer = httpx.post(f"{service}/v1/classifications", files={"image": image}, headers=HEADERS, timeout=60)
    assert answer.status_code == 200, answer.text
    assert 0 <= answer.json()["malignant"] <= 1 and answer.json()["sample_id"] == sample_id(image)
    assert "not for diagnosis" in answer.json()["notice"]


def test_the_service_sees_an_upload_as_ingest_does(service: str) -> None:
    """A turned photograph in Adobe's colours, and the pixels that ingest makes of it, have one score."""
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    picture = next(draw_phantoms(5, 1, 64))[1].image
    Image.fromarray(picture).save(buffer, "JPEG", exif=exif, icc_profile=ADOBE_RGB)
    scores = []
    for image in (buffer.getvalue(), png(decode(buffer.getvalue()))):
        answer = httpx.post(f"{service}/v1/classifications", files={"image": image}, headers=HEADERS, timeout=60)
        scores.append(answer.json()["malignant"])
    assert scores[0] == scores[1]


def test_models_and_documentation(service: str) -> None:
    models = httpx.get(f"{service}/v1/models", headers=HEADERS, timeout=60).json()["data"]
    assert [m["task"] for m in models] == ["generation", "classification"]
    assert "/v1/images/generations" in httpx.get(f"{service}/openapi.json", timeout=60).json()["paths"]
    assert httpx.get(f"{service}/docs", timeout=60).status_code == 200


def test_bad_requests(service: str) -> None:
    url = f"{service}/v1/images/generations"
    assert httpx.post(url, json={"prompt": PROMPT}, timeout=60).status_code == 401
    assert (
        httpx.post(url, json={"prompt": PROMPT}, headers={"Authorization": "Bearer no"}, timeout=60).status_code == 401
    )
    assert httpx.get(f"{service}/v1/models", timeout=60).status_code == 401
    for body in ({"prompt": "x" * 1001}, {"prompt": ""}, {"n": 9}, {"steps": 0}, {"size": "1024x1024"}, {"seed": -1}):
        answer = draw(service, **body)
        assert answer.status_code == 400 and next(iter(body)) in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("upload", "status", "message"),
    [
        (b"", 400, "empty file"),
        (b"no image", 400, "not an image: expected JPEG, PNG"),
        (huge_png(40_000, 25_000), 400, "more than 50000000 pixels"),
        (b"\x89PNG" + b"0" * (10 << 20), 413, "larger than"),
    ],
    ids=["empty", "text", "pixels", "bytes"],
)
def test_bad_uploads(service: str, upload: bytes, status: int, message: str) -> None:
    files = {"image": ("image.png", upload, "image/png")}
    answer = httpx.post(f"{service}/v1/classifications", files=files, headers=HEADERS, timeout=60)
    assert answer.status_code == status and message in answer.json()["error"]["message"]


def test_a_full_queue_says_when_to_come_back(service: str) -> None:
    with ThreadPoolExecutor(160) as pool, httpx.Client(limits=httpx.Limits()) as client:
        answers = list(pool.map(lambda seed: draw(service, client.post, seed=seed, steps=10), range(160)))
    statuses = {a.status_code for a in answers}
    assert statuses == {200, 429}
    assert all(a.headers["Retry-After"] for a in answers if a.status_code == 429)
    time.sleep(1)
    assert draw(service, steps=2).status_code == 200
