"""What is checked before the body, by messages of ASGI and without Ray."""

import asyncio
import json

import pytest
from fastapi import FastAPI

from dermray.serving.api import api_of
from dermray.serving.generation import Drawn
from dermray.serving.keys import Keys
from dermray.serving.service import Service
from tests.serving.door.asgi import AUTHORISED, IMAGES, JSON, KEY, ask
from tests.serving.door.conftest import Handle

pytestmark = pytest.mark.anyio
BEARER = ("authorization", f"Bearer {KEY}")
PROMPT = json.dumps({"prompt": "red"}).encode()


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (JSON, 401, "missing_key"),
        ((("authorization", "Bearer"), *JSON), 401, "missing_key"),
        ((("authorization", "Basic abc"), *JSON), 401, "missing_key"),
        ((("authorization", "Bearer wrong"), *JSON), 401, "invalid_api_key"),
        ((("authorization", b"Bearer \xff\xfe\x00"), *JSON), 401, "invalid_api_key"),
        ((("authorization", "Bearer " + "o" * 32), *JSON), 401, "expired_api_key"),
        ((("authorization", "Bearer " + "s" * 32), *JSON), 403, "missing_scope"),
        ((BEARER, *AUTHORISED), 400, "invalid_header"),
        ((BEARER,), 415, "invalid_content_type"),
        ((BEARER, ("content-type", "text/plain")), 415, "invalid_content_type"),
        ((BEARER, ("content-type", b"\xff\xfe")), 415, "invalid_content_type"),
        ((BEARER, *JSON, *JSON), 400, "invalid_header"),
        ((*AUTHORISED, ("content-length", "1001")), 413, "too_large"),
        ((*AUTHORISED, ("content-length", "-1")), 400, "invalid_header"),
        ((*AUTHORISED, ("content-length", "+1")), 400, "invalid_header"),
        ((*AUTHORISED, ("content-length", "1_0")), 400, "invalid_header"),
        ((*AUTHORISED, ("content-length", b"\xb2")), 400, "invalid_header"),
        ((*AUTHORISED, ("content-length", "9" * 5000)), 400, "invalid_header"),
        ((*AUTHORISED, ("content-length", "2"), ("content-length", "3")), 400, "invalid_header"),
        ((*AUTHORISED, ("x-large", "a" * 40_000)), 431, "headers_too_large"),
        ((*AUTHORISED, *[(f"x-{i}", "a" * 300) for i in range(120)]), 431, "headers_too_large"),
    ],
)
async def test_headers_are_checked_before_a_byte_is_read(
    app: FastAPI, headers: tuple[tuple[str, str]], status: int, code: str
) -> None:
    answer = await ask(app, headers=headers, body=[None])
    assert (answer.status, answer.error["code"], answer.received) == (status, code, 0)
    assert answer.headers["connection"] == "close", "or uvicorn reads on what nobody wants"
    assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/nothing", "GET", 404),
        ("/v1/models/", "GET", 404),
        ("/docs/assets/../../pyproject.toml", "GET", 400),
        ("/docs/assets/%2e%2e/core.py", "GET", 404),
        ("/docs/assets/core.py", "GET", 404),
        ("/v1/models\x00", "GET", 400),
        ("/v1/\ufffd", "GET", 400),
        ("/v1\\models", "GET", 400),
        ("/" + "a" * 5000, "GET", 414),
        ("/v1/models", "PATCH", 405),
        ("/v1/models", "HEAD", 405),
        (IMAGES, "GET", 405),
        ("*", "OPTIONS", 404),
    ],
)
async def test_odd_paths_and_methods(app: FastAPI, path: str, method: str, status: int) -> None:
    answer = await ask(app, path, method, body=[])
    assert answer.status == status and path not in answer.error["message"]
    assert ("allow" in answer.headers) == (status == 405)


async def test_a_long_query_is_refused(app: FastAPI) -> None:
    assert (await ask(app, "/v1/models", "GET", body=[], query=b"a" * 5000)).status == 414


async def test_a_request_without_a_body_waits_for_none(app: FastAPI) -> None:
    answer = await ask(app, "/v1/models", "GET", [BEARER], body=[])
    assert answer.status == 200
    announced = await ask(app, "/v1/models", "GET", [BEARER, ("content-length", "5")], body=[None])
    assert announced.status == 413 and announced.received == 0


async def test_a_sane_request_id_is_kept_and_another_is_replaced(app: FastAPI) -> None:
    kept = await ask(app, headers=[("x-request-id", "job-7.a:1")], body=[])
    assert kept.headers["x-request-id"] == kept.error["request_id"] == "job-7.a:1"
    for odd in ("", "a b", "x" * 129, "é", "<script>"):
        answer = await ask(app, headers=[("x-request-id", odd)], body=[])
        assert len(answer.error["request_id"]) == 32 and answer.error["request_id"] != odd
    fine = await ask(app, "/healthz", "GET", [("x-request-id", "job-8")], body=[])
    assert fine.status == 200 and fine.headers["x-request-id"] == "job-8"


async def test_on_serve_its_proxy_sets_a_sane_id(service: Service, keys: Keys) -> None:
    served = api_of(service, keys, served=True)
    assert "x-request-id" not in (await ask(served, "/healthz", "GET", [("x-request-id", "a")], [])).headers
    assert "x-request-id" in (await ask(served, "/healthz", "GET", [("x-request-id", "a b")], [])).headers


async def test_one_line_a_request_without_prompt_and_key(app: FastAPI, log: pytest.LogCaptureFixture) -> None:
    answer = await ask(app, body=[json.dumps({"prompt": "a secret of a patient"}).encode()])
    assert answer.status == 200
    (line,) = [record.getMessage() for record in log.records]
    assert json.loads(line)["request_id"] == answer.headers["x-request-id"]
    assert json.loads(line) | {"seconds": 0, "request_id": ""} == {
        "request_id": "", "method": "POST", "route": IMAGES, "status": 200, "seconds": 0, "key": "tests",
        "rejected": None,
    }  # fmt: skip
    assert KEY not in line and "secret" not in line


async def test_a_fault_tells_clients_nothing_and_the_log_all(
    app: FastAPI, generator: Handle, log: pytest.LogCaptureFixture
) -> None:

    async def fail(*_: object) -> None:
        raise RuntimeError("/secret/path")

    generator.answers["draw"] = fail
    answer = await ask(app, body=[PROMPT])
    assert answer.status == 500 and answer.error["code"] == "fault" and b"secret" not in answer.body
    assert "Traceback" in log.text and "/secret/path" in log.text
    assert answer.error["request_id"] in log.text


async def test_a_dead_replica_is_a_503_to_ask_again(app: FastAPI, generator: Handle) -> None:
    from ray.exceptions import ActorDiedError

    async def fail(*_: object) -> None:
        raise ActorDiedError

    generator.answers["draw"] = fail
    answer = await ask(app, body=[PROMPT])
    assert answer.status == 503 and answer.error["code"] == "unavailable"
    assert answer.headers["retry-after"] == "5" and generator.calls.count("draw") == 2, "another replica was asked"


async def test_no_other_site_is_let_in(app: FastAPI) -> None:
    origin = ("origin", "https://other.example")
    answer = await ask(app, "/v1/models", "GET", [BEARER, origin], [])
    assert answer.status == 200 and not [name for name in answer.headers if name.startswith("access-control")]
    preflight = [origin, ("access-control-request-method", "POST")]
    assert (await ask(app, IMAGES, "OPTIONS", preflight, [])).status == 405


@pytest.mark.parametrize(
    ("client", "extra", "status"),
    [
        ("127.0.0.1", [("host", "127.0.0.1:8000")], 200),
        ("::1", [("host", "localhost:8000")], 200),
        ("10.0.0.7", [("host", "127.0.0.1:8000")], 403),
        ("127.0.0.1", [("host", "rebound.example:8000")], 403),
        ("127.0.0.1", [("host", "[")], 403),
        ("127.0.0.1", [], 403),
        ("127.0.0.1", [("host", "localhost"), ("origin", "https://other.example")], 403),
        ("127.0.0.1", [("host", "localhost:80"), ("origin", "http://localhost:80")], 200),  # our own /docs
        ("127.0.0.1", [("host", "localhost:80"), ("origin", "http://localhost:81")], 403),
        ("127.0.0.1", [("host", "localhost:80"), ("origin", "null")], 403),
        ("127.0.0.1", [("host", "rebound.example"), ("origin", "http://rebound.example")], 403),
    ],
)
async def test_without_keys_only_this_machine_is_served(
    service: Service, client: str, extra: list[tuple[str, str]], status: int
) -> None:
    answer = await ask(api_of(service, Keys([], off=True)), headers=[*JSON, *extra], body=[PROMPT], client=client)
    assert answer.status == status and (status == 200 or answer.error["code"] == "not_loopback")


@pytest.mark.parametrize(
    ("attributes", "status"),
    [
        ({"entity": "mel", "malignant": False}, 400),
        ({"entity": "nv", "malignant": True}, 400),
        ({"entity": "mel", "malignant": True}, 200),
        ({"entity": "akiec", "malignant": True}, 200),
        ({"entity": "akiec", "malignant": False}, 200),
        ({"entity": "nv"}, 200),
    ],
)
async def test_attributes_are_of_one_lesion(app: FastAPI, attributes: dict[str, object], status: int) -> None:
    answer = await ask(app, headers=AUTHORISED, body=[json.dumps({"attributes": attributes}).encode()])
    assert answer.status == status
    if status == 400:
        assert answer.error["message"].startswith("attributes: malignant: ") and answer.error["param"] == "attributes"


async def test_models_by_name(app: FastAPI) -> None:
    answer = await ask(app, "/v1/models/resnet", "GET", [BEARER], [])
    assert answer.status == 200 and json.loads(answer.body)["task"] == "classification"
    answer = await ask(app, "/v1/models/none", "GET", [BEARER], [])
    assert answer.status == 404 and answer.error["code"] == "model_not_found"
    assert "pixel, resnet" in answer.error["message"]
    assert (await ask(app, "/v1/models/resnet", "GET", [], [])).status == 401


async def test_rates_and_images_are_counted_by_key(app: FastAPI) -> None:
    slow = [("authorization", "Bearer " + "l" * 32)]
    statuses = [(await ask(app, "/v1/models", "GET", slow, [])).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    few = [("authorization", "Bearer " + "f" * 32), *JSON]
    answers = [await ask(app, headers=few, body=[PROMPT]) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[-1].error["code"] == "images_per_day" and int(answers[-1].headers["retry-after"]) > 0


async def test_work_beyond_the_queue_is_refused_and_health_is_not(app: FastAPI, generator: Handle) -> None:
    go = asyncio.Event()

    async def draw(*_: object) -> list[Drawn]:
        await go.wait()
        return [Drawn(1, b"png")]

    generator.answers["draw"] = draw
    asked = [asyncio.create_task(ask(app, body=[PROMPT])) for _ in range(6)]
    await asyncio.sleep(0.1)
    for path in ("/healthz", "/livez", "/readyz"):
        for method in ("GET", "HEAD"):
            assert (await ask(app, path, method, [], [])).status == 200
    assert (await ask(app, "/v1/models", "GET", [BEARER], [])).status == 200
    done = [task for task in asked if task.done()]
    assert len(done) == 2 and all(task.result().status == 429 for task in done)
    assert all(int(task.result().headers["retry-after"]) >= 1 for task in done)
    go.set()
    assert sorted(answer.status for answer in await asyncio.gather(*asked)) == [200] * 4 + [429] * 2


async def test_a_client_that_goes_gives_its_slot_back(app: FastAPI, service: Service, generator: Handle) -> None:
    async def draw(*_: object) -> list[Drawn]:
        await asyncio.Event().wait()
        raise AssertionError

    generator.answers["draw"] = draw
    asked = [asyncio.create_task(ask(app, body=[PROMPT])) for _ in range(4)]
    for _ in range(500):
        await asyncio.sleep(0.01)
        if service.admission.waiting == 2:
            break
    assert (service.admission.at_work, service.admission.waiting) == (2, 2)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    assert (service.admission.at_work, service.admission.waiting) == (0, 0)
