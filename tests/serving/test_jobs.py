"""Jobs as clients meet them: over HTTP, with images that equal those of a short request, whatever is killed."""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from ray import serve

from dermray.client import Client, ServiceError
from dermray.config import validate
from dermray.records import sample_id
from dermray.serving.app import build
from dermray.serving.door import front
from dermray.serving.keys import KEYS_VARIABLE
from dermray.serving.settings import ServiceConfig
from tests.conftest import free_port, ray_of_its_own
from tests.serving.conftest import Live
from tests.serving.models import PROMPT
from tests.serving.test_steady import processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LONG = {"prompt": PROMPT, "n": 60, "seed": 100, "steps": 100}


def service(models: Path, place: Path) -> ServiceConfig:
    model = {"task": "generation", "name": "pixel", "model": str(models / "generator"), "steps": 3}
    jobs = {
        "database": f"sqlite:///{place}/jobs.db",
        "place": f"{place}/images",
        "images": 100,
        "unfinished": 3,
        "streams": 2,
    }
    return validate(ServiceConfig, {"models": [model], "jobs": jobs | {"images_at_once": 4, "link_seconds": 2}})


def started(config: ServiceConfig, port: int) -> None:
    serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 120})
    serve.run(build(config), name="dermray", route_prefix="/")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def working(served_models: Path, place: Path) -> Iterator[Live]:
    port, key = free_port(), secrets.token_urlsafe(8)
    with ray_of_its_own(**{KEYS_VARIABLE: f"{key},another", front.VARIABLE: front.PATH}):
        started(service(served_models, place), port)
        yield Live(f"http://127.0.0.1:{port}", key)
        if ray.is_initialized():  # not where the last test took Ray down: serve would look for any other, and wait
            serve.shutdown()


@pytest.fixture
def client(working: Live) -> Iterator[httpx.Client]:
    with working.client() as opened:
        yield opened


def submitted(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return dict(answer.json())


def until(client: httpx.Client, job: str, images: int = 10**6, seconds: float = 240) -> dict[str, Any]:
    """The job once it is over, or has so many images."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            answer = client.get(f"/v1/jobs/{job}")
            if answer.status_code == 200:
                told = dict(answer.json())
                if told["status"] not in ("queued", "running") or told["images_done"] >= images:
                    return told
        except httpx.TransportError:
            pass  # a proxy that was killed
        time.sleep(0.2)
    raise AssertionError(f"job {job} did not come so far")


def test_images_of_a_job_are_those_of_short_requests(client: httpx.Client) -> None:
    job = submitted(client, prompt=PROMPT, n=10, seed=50, steps=3)
    assert (job["object"], job["status"], job["images"], job["steps"]) == ("job", "queued", 10, 30)
    events = []
    with client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("event: "):
                events.append(line.removeprefix("event: "))
            elif line.startswith("data: "):
                last = json.loads(line.removeprefix("data: "))
    assert events[-1] == "succeeded" and set(events[:-1]) <= {"progress"} and last["steps_done"] == 30
    done = client.get(f"/v1/jobs/{job['id']}").json()
    assert [(image["index"], image["seed"]) for image in done["data"]] == [(i, 50 + i) for i in range(10)]
    direct = client.post("/v1/images/generations", json={"prompt": PROMPT, "n": 8, "seed": 50, "steps": 3}).json()
    assert [image["sample_id"] for image in direct["data"]] == [image["sample_id"] for image in done["data"][:8]]
    png = httpx.get(done["data"][9]["url"])  # without a key
    assert png.headers["content-type"] == "image/png" and sample_id(png.content) == done["data"][9]["sample_id"]
    assert png.headers["cache-control"] in ("private, max-age=2", "private, max-age=1"), "no longer than the link"
    time.sleep(2.1)
    expired = httpx.get(done["data"][9]["url"])
    assert expired.status_code == 403 and "has expired: GET /v1/jobs/" in expired.json()["error"]["message"]
    assert httpx.get(client.get(f"/v1/jobs/{job['id']}").json()["data"][9]["url"]).status_code == 200
    assert job["id"] in [listed["id"] for listed in client.get("/v1/jobs").json()["data"]]


def test_our_client_follows_a_job(working: Live) -> None:
    with Client(working.url, working.key) as client:
        job = client.submit(PROMPT, n=5, seed=7, steps=20)
        *_, done = client.follow(job.id, seconds=0.1)
        assert done.status == "succeeded" and [sample_id(client.fetch(image)) for image in done.data] == [
            image.sample_id for image in done.data
        ]
        assert [image.sample_id for image in client.generate(PROMPT, n=5, seed=7, steps=20).data] == [
            image.sample_id for image in done.data
        ]
        with pytest.raises(ServiceError, match="409: this job has succeeded already: there is nothing to cancel"):
            client.cancel(job.id)


def test_a_job_is_cancelled_once_and_is_another_key_s_business_never(client: httpx.Client, working: Live) -> None:
    job = submitted(client, **LONG)["id"]
    until(client, job, images=1)
    with Live(working.url, "another").client() as stranger:
        for answer in (stranger.get(f"/v1/jobs/{job}"), stranger.delete(f"/v1/jobs/{job}"),
                       stranger.get(f"/v1/jobs/{job}/events"), stranger.get("/v1/jobs/none")):  # fmt: skip
            assert answer.status_code == 404 and answer.json()["error"]["code"] == "job_not_found"
        assert stranger.get("/v1/jobs").json()["data"] == []
    cancelled = client.delete(f"/v1/jobs/{job}")
    assert cancelled.status_code == 200 and cancelled.json()["status"] == "cancelled"
    again = client.delete(f"/v1/jobs/{job}")
    assert again.status_code == 409 and "has been cancelled already" in again.json()["error"]["message"]
    time.sleep(1.5)
    there = until(client, job)["images_done"]
    time.sleep(1.5)
    assert 1 <= until(client, job)["images_done"] == there < 60
    with client.stream("GET", f"/v1/jobs/{job}/events") as stream:
        assert "event: cancelled" in stream.read().decode()


def test_what_a_job_may_not_be(client: httpx.Client) -> None:
    for body, message in (
        ({"prompt": PROMPT, "n": 101}, "n=101: expected at most 100"),
        ({"prompt": PROMPT, "model": "none"}, "model 'none' is not served for generation; there are: pixel"),
        ({"prompt": PROMPT, "response_format": "b64_json"}, "response_format: Input should be 'url'"),
        ({"n": 3}, "prompt: expected at least one character, or attributes"),
    ):
        answer = client.post("/v1/jobs", json=body)
        assert answer.status_code in (400, 404) and message in answer.json()["error"]["message"]
    link = client.get("/v1/jobs/abc/images/x?expires=1&signature=2")
    assert link.status_code == 400
    assert client.get("/v1/jobs/abc/images/3").status_code == 403


def test_a_question_that_is_sent_again_is_one_job_and_many_are_refused(client: httpx.Client) -> None:
    again = {"Idempotency-Key": "mine"}
    first, second = (client.post("/v1/jobs", json=LONG, headers=again).json()["id"] for _ in range(2))
    assert first == second
    other = client.post("/v1/jobs", json=LONG | {"seed": 101}, headers=again)
    assert other.status_code == 409 and f"with another question (job {first})" in other.json()["error"]["message"]
    others = [submitted(client, **LONG)["id"] for _ in range(2)]
    full = client.post("/v1/jobs", json=LONG)
    assert (
        full.status_code == 429 and "3 unfinished jobs: wait for one, or cancel one" in full.json()["error"]["message"]
    )
    repeated = client.post("/v1/jobs", json=LONG, headers=again)
    assert repeated.status_code == 202 and repeated.json()["id"] == first, "a repeat is none of the too many"
    for job in (first, *others):
        client.delete(f"/v1/jobs/{job}")


def test_a_key_listens_to_so_many_streams(client: httpx.Client) -> None:
    path = f"/v1/jobs/{submitted(client, **LONG)['id']}"
    with client.stream("GET", f"{path}/events") as one, client.stream("GET", f"{path}/events") as two:
        lines = one.iter_lines(), two.iter_lines()  # httpx closes a stream whose iterator is dropped
        assert [next(news) for news in lines] == ["event: progress"] * 2
        third = client.get(f"{path}/events")
        assert third.status_code == 429 and "2 streams of events already: close one" in third.text
    client.delete(path)
    for _ in range(40):  # Serve tells a replica a moment later that a client has gone
        if (answer := client.get(f"{path}/events")).status_code == 200:
            break
        time.sleep(0.25)
    assert "event: cancelled" in answer.text


def test_jobs_outlive_replicas_ingress_and_a_restart_of_everything(served_models: Path, tmp_path: Path) -> None:
    config, key = service(served_models, tmp_path), secrets.token_urlsafe(8)
    variables = {KEYS_VARIABLE: key, front.VARIABLE: front.PATH}
    with ray_of_its_own(**variables):
        port = free_port()
        started(config, port)
        with Live(f"http://127.0.0.1:{port}", key).client() as client:
            job = submitted(client, **LONG | {"n": 40})["id"]
            until(client, job, images=2)
            for title, images in (("ServeReplica:dermray:pixel", 6), ("ServeReplica:dermray:Api", 10)):
                for process in processes(title):
                    process.kill()
                assert until(client, job, images=images)["status"] == "running"
        # nobody is told: the cluster ends with its replicas at work
        for process in processes("ServeReplica") + processes("ServeController"):
            process.kill()
    with ray_of_its_own(**variables):
        port = free_port()
        started(config, port)
        with Live(f"http://127.0.0.1:{port}", key).client() as client:
            done = until(client, job)
            assert done["status"] == "succeeded" and [image["index"] for image in done["data"]] == list(range(40))
            asked = {"prompt": PROMPT, "n": 8, "seed": 132, "steps": 100}
            direct = client.post("/v1/images/generations", json=asked).json()
            assert [i["sample_id"] for i in direct["data"]] == [i["sample_id"] for i in done["data"][32:]]
        serve.shutdown()
