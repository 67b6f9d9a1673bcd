import asyncio
import json
from typing import Any

import pytest
from fastapi import FastAPI

from dermray.serving import readiness
from dermray.serving.readiness import Readiness
from dermray.serving.service import Service
from tests.serving.door.asgi import ask
from tests.serving.door.conftest import Handle, anyio_backend, app, generator, keys, service

pytestmark = pytest.mark.anyio
__all__ = ["anyio_backend", "app", "generator", "keys", "service"]


async def never(*_: object) -> None:
    await asyncio.Event().wait()


async def dead(*_: object) -> None:
    raise RuntimeError("secret")


async def test_models_that_do_not_answer_are_named() -> None:
    asked = Readiness({"pixel": Handle(about={}), "resnet": Handle(about=never), "vit": Handle(about=dead)}, 0.05)
    assert await asked.missing() == {"resnet": "no answer within 0.05 s", "vit": "RuntimeError"}


async def test_many_probes_ask_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = Handle(about={})
    asked = Readiness({"pixel": handle})
    await asyncio.gather(*(asked.missing() for _ in range(50)))
    await asked.missing()
    assert handle.calls == ["about"]
    monkeypatch.setattr(readiness, "FRESH", 0.0)
    await asked.missing()
    assert handle.calls == ["about"] * 2


async def test_ready_and_alive_are_two_questions(app: FastAPI, service: Service, generator: Handle) -> None:
    assert (await ask(app, "/readyz", "GET", [], [])).status == 200
    generator.answers["about"] = dead
    service.readiness._asked = 0.0
    answer: Any = await ask(app, "/readyz", "GET", [], [])
    assert answer.status == 503 and "pixel (RuntimeError)" in answer.error["message"] and b"secret" not in answer.body
    assert [(await ask(app, path, "GET", [], [])).status for path in ("/livez", "/healthz")] == [200, 200]
    assert json.loads((await ask(app, "/livez", "GET", [], [])).body) == {"status": "ok"}
