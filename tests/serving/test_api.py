"""What the API says of itself."""

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dermray.serving.api import api_of
from dermray.serving.door.rules import RULES
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
    assert described == {place for place in ruled if not place[1].startswith(("/docs", "/openapi"))}
    for path, methods in paths.items():
        for method, operation in methods.items():
            rule = ruled[method.upper(), path]
            assert operation.get("security", []) == ([] if rule.needs == "nothing" else [{"HTTPBearer": []}])
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
