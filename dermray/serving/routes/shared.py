"""What endpoints ask FastAPI for."""

from typing import Annotated, cast

from fastapi import Depends, Request

from dermray.serving.service import Service


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


Served = Annotated[Service, Depends(_service)]
