"""The service in this process: its own door and endpoints, real small models, a real socket, and no Ray."""

import asyncio
import contextlib
import inspect
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import uvicorn

from dermray.serving.api import api_of
from dermray.serving.app import DEPLOYMENTS
from dermray.serving.keys import Keys
from dermray.serving.opening import place_of
from dermray.serving.service import Service
from dermray.serving.settings import ServiceConfig
from tests.conftest import free_port


class Replica:
    """A model's replica, called as `Calls` calls those on Ray."""

    def __init__(self, replica: Any) -> None:
        self.replica = replica

    def __getattr__(self, method: str) -> Any:
        async def remote(*asked: Any, **named: Any) -> Any:
            answer = getattr(self.replica, method)(*asked, **named)
            return await answer if inspect.isawaitable(answer) else answer

        return SimpleNamespace(remote=remote)

    async def stream(self, method: str, *asked: Any) -> AsyncIterator[Any]:
        """What the replica yields."""
        async for answer in getattr(self.replica, method)(*asked):
            yield answer


def replicas(config: ServiceConfig) -> dict[str, Any]:
    """One of each model."""
    return {
        model.name: Replica(DEPLOYMENTS[type(model)].func_or_class(model, place_of(str(model.model), model.task)))
        for model in config.models
    }


@contextlib.contextmanager
def served_here(config: ServiceConfig, keys: Keys, models: dict[str, Any]) -> Iterator[str]:
    """The service's URL, until the block ends."""
    port = free_port()
    app = api_of(Service(config, models), keys)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the service did not start")
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(timeout=20)
