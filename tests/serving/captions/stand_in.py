"""The service's own application with a captioner whose host is a stand-in: no model, answers that tests choose."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI

from benchmarks.stand_in_engine import TEXT
from dermray.captioning.engine import Manner
from dermray.captioning.models import Captioner
from dermray.serving.api import api_of
from dermray.serving.captions import replica
from dermray.serving.captions.opening import Found
from dermray.serving.captions.replica import Captioning
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.captions.work import Unanswered
from dermray.serving.keys import Keys
from dermray.serving.service import Service
from dermray.serving.settings import ServiceConfig

KEY = {"Authorization": "Bearer k"}
Said = Callable[[bytes, str], Any]  # columns of an answer, or Unanswered


def columns(text: str = TEXT, finish_reason: str = "stop") -> dict[str, Any]:
    """Of an answer."""
    return {"text": text, "tokens_in": 80, "tokens_out": 12, "finish_reason": finish_reason, "requests": 1}


class StandIn:
    """A host that says of every image what the test has it say."""

    def __init__(self, said: Said = lambda shown, question: columns()) -> None:
        self.said, self.asked, self.aborted, self.dead = said, list[tuple[bytes, str, Manner]](), 0, False
        self.hold: asyncio.Event | None = None  # until which no answer comes

    def check(self) -> None:
        if self.dead:
            raise RuntimeError("the engine has died")

    async def answer(self, shown: bytes, question: str, manner: Manner) -> dict[str, Any] | Unanswered:
        self.asked.append((shown, question, manner))
        try:
            if self.hold is not None:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        found: dict[str, Any] | Unanswered = self.said(shown, question)
        return found

    def close(self) -> None:
        pass


class Handle:
    """A deployment's handle whose replica is here."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def __getattr__(self, name: str) -> Any:
        async def remote(*arguments: Any) -> Any:
            found = getattr(self.of, name)(*arguments)
            return await found if asyncio.iscoroutine(found) else found

        return SimpleNamespace(remote=remote)


def captioning(model: ServedCaptioner, host: Any, found: Found | None = None) -> Captioning:
    """A replica without Ray."""
    made: Any = Captioning.func_or_class  # type: ignore[attr-defined]  # serve.deployment adds it
    each = made.__new__(made)
    found = found or Found(Captioner("/model", "nano", "abc"), model.host, ("", ""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replica, "host_of", lambda _: host)
        asyncio.run(each.__init__(model, found))
    return each


def application(model: ServedCaptioner, host: Any, keys: Keys | None = None, **limits: Any) -> FastAPI:
    """The service's own, with this captioner alone."""
    config = ServiceConfig(models=(model,), limits=limits)  # type: ignore[arg-type]  # pydantic reads a dict
    return api_of(Service(config, {model.name: Handle(captioning(model, host))}), keys or Keys(["k"]))
