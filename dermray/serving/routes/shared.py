"""What endpoints ask FastAPI for."""

from collections.abc import AsyncIterator
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from dermray.serving.keys import Key
from dermray.serving.service import Service

# Describes the key in OpenAPI, so that /docs can log in; the door checks it, before the body is read.
bearer = HTTPBearer(auto_error=False, description="an API key")


async def _service(request: Request) -> Service:  # async: FastAPI gives other functions a thread each time
    return cast(Service, request.app.state.service)


async def _asker(request: Request) -> Key:
    return cast(Key, request.state.key)  # the door's


Served = Annotated[Service, Depends(_service)]
Asker = Annotated[Key, Depends(_asker)]


async def admitted(service: Served, key: Asker) -> AsyncIterator[None]:
    """A slot for as long as the endpoint works; 429 where too many wait for one."""
    async with service.admission.slot(key.name):
        yield
