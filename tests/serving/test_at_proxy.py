"""What clients read where Serve's proxy answers itself, over real ASGI, without Ray."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.testclient import TestClient
from starlette.types import ASGIApp

from dermray.serving.at_proxy import OneForm
from dermray.serving.door import front


def client(app: ASGIApp) -> TestClient:
    return TestClient(OneForm(app))


def test_a_replica_that_died_is_a_503() -> None:
    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        """As Serve's proxy ends where the replica of the ingress dies."""

    answer = client(nothing).get("/")
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "5"
    assert answer.json()["error"]["code"] == "unavailable"


@pytest.mark.parametrize("status", [404, 408, 429, 503])
def test_serves_own_answers_have_our_form(status: int) -> None:
    answer = client(PlainTextResponse("Request 1 timed out after 120s.", status)).get("/")
    assert answer.status_code == status and answer.json()["error"]["message"]
    assert (answer.headers.get("Retry-After") == "5") == (status in (429, 503))


def test_the_services_own_answers_pass() -> None:
    app = FastAPI()
    made: dict[str, Callable[[], Any]] = {
        "/fine": lambda: PlainTextResponse("fine"), "/bad": lambda: JSONResponse({"error": 1}, 404),
        "/large": lambda: PlainTextResponse("x" * 1_000_000),
    }  # fmt: skip
    for path, answer in made.items():
        app.add_api_route(path, answer)
    asked = client(app)
    assert asked.get("/fine").text == "fine" and len(asked.get("/large").text) == 1_000_000
    assert (asked.get("/bad").status_code, asked.get("/bad").json()) == (404, {"error": 1})


def test_serves_proxy_is_given_it() -> None:
    layers: list[object] = [middleware.cls for middleware in front.middlewares()]
    assert OneForm in layers
