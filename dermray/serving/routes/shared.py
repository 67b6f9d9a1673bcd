"""What endpoints ask FastAPI for."""

from typing import Annotated, cast

from fastapi import Depends, Request

from dermray.serving.service import Service


async def _service(request: Request) -> Service:  # async: FastAPI gives other functions a thread each time
    return cast(Service, request.app.state.service)


Served = Annotated[Service, Depends(_service)]
