"""What the API says of itself."""

import re
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dermray.serving.api import api_of
from dermray.serving.door.rules import RULES
from dermray.serving.errors import ApiError
from dermray.serving.keys import Keys
from dermray.serving.service import Service
from dermray.serving.settings import ServiceConfig


@pytest.fixture
def api() -> FastAPI:
    return api_of(Service(ServiceConfig(run="x")), Keys(["k"]))


def test_every_endpoint_has_a_rule_and_says_that_it_asks_for_a_key(api: FastAPI) -> None:
    paths = api.openapi()["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    ruled = {(rule.method, rule.path): rule for rule in RULES}
    pages = ("/docs", "/openapi", "/web/", "/reader-study/")  # of people; so is /
    described_rules = {(m, p) for m, p in ruled if m != "HEAD" and p != "/" and not p.startswith(pages)}
    assert described == described_rules
    for path, methods in paths.items():
        for method, operation in methods.items():
            rule = ruled[method.upper(), path]
            schemes: dict[str, list[Any]] = {"nothing": [], "a session": [{"ReaderSession": []}]}
            scheme = schemes.get(rule.needs, [{"HTTPBearer": []}])
            assert operation.get("security", []) == scheme
            assert "422" not in operation["responses"] and "400" in operation["responses"]
            # a part may take more types than OpenAPI describes, and not fewer
            assert set(operation.get("requestBody", {}).get("content", {})) <= set(rule.takes)


def test_the_documentation_asks_no_other_host(api: FastAPI) -> None:
    client = TestClient(api)
    page = client.get("/docs")
    assert page.status_code == 200
    for asset in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert asset.startswith("/docs/assets/"), asset
        found = client.get(asset)
        assert found.status_code == 200 and len(found.content) > 1000
    assert "cdn." not in page.text and "https://" not in page.text
    assert client.get("/redoc").status_code == 404
    assert client.get("/openapi.json").json()["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_a_task_that_nothing_is_served_for_is_told_as_such() -> None:
    service = Service(ServiceConfig(run="x"))
    for named in (None, "nano"):
        with pytest.raises(ApiError, match="^no model for captioning is served here$") as raised:
            service.captioner(named)
        assert raised.value.status == 404
