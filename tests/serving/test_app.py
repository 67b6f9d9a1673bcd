import socket

import pytest

from dermray.serving.api import api_of
from dermray.serving.run import require_free_port
from dermray.serving.service import Service
from dermray.serving.settings import ServiceConfig


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} on 127.0.0.1: Address already in use; choose another"):
            require_free_port("127.0.0.1", port)


def test_every_endpoint_that_does_anything_asks_for_a_key() -> None:
    paths = api_of(Service(ServiceConfig(run="x"))).openapi()["paths"]
    without = {"/healthz", "/v1/images/{name}"}  # the name of a kept image is a secret of its own
    assert set(paths) == without | {"/v1/models", "/v1/images/generations", "/v1/classifications"}
    for path, methods in paths.items():
        for operation in methods.values():
            names = [p["name"] for p in operation.get("parameters", [])]
            assert ("authorization" in names) == (path not in without)
