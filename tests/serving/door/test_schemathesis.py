"""Schemathesis: requests made from the OpenAPI, valid and not, with all of its checks. Models answer at once here."""

import json
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis.openapi import from_asgi
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from dermray.serving.api import api_of
from dermray.serving.door.rules import FORM
from dermray.serving.keys import Keys
from dermray.serving.service import Service
from dermray.serving.settings import ServedClassifier, ServedGenerator, ServiceConfig
from tests.serving.door.asgi import KEY
from tests.serving.door.conftest import CAPTIONER, captioning, drawing, scoring

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def described() -> Any:
    """The API as its own /openapi.json says it."""
    models = (
        ServedGenerator(task="generation", name="pixel", model="none"),
        ServedClassifier(task="classification", name="resnet", model="none"),
        CAPTIONER,
    )
    handles = {"pixel": drawing(), "resnet": scoring(), "nano": captioning()}
    service = Service(ServiceConfig(models=models), handles)
    app: FastAPI = api_of(service, Keys([KEY]))
    return from_asgi("/openapi.json", app)


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_api_keeps_its_word(case: Any) -> None:
    # multipart has text and files only: an integer of an invalid request arrives as the text that would be valid
    untold = [negative_data_rejection] if case.media_type == FORM else []
    if case.method == "POST":  # OpenAPI cannot say that one of two fields is given, nor what a model can draw
        untold.append(positive_data_acceptance)
    response = case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, excluded_checks=untold)
    assert response.headers["x-request-id"]
    if response.status_code >= 400:
        error = json.loads(response.content)["error"]
        assert set(error) == {"message", "type", "param", "code", "request_id"}
        assert "Traceback" not in error["message"] and len(error["message"]) < 1000
