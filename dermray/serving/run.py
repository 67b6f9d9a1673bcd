"""`dermray serve`: the service on this machine, until it is interrupted."""

import os
import secrets
import socket
import time

from dermray.serving.keys import KEYS_VARIABLE
from dermray.serving.settings import ServiceConfig


def serve_here(config: ServiceConfig, host: str, port: int) -> None:
    """Serve until interrupted. Without keys in the environment one is made and printed.

    Raises:
        OSError: the port is taken. FileNotFoundError, ValueError: a model is not there.
    """
    from dermray.serving.app import build

    application = build(config)  # before Ray starts: a model that is missing is told in a second
    require_free_port(host, port)
    if not os.environ.get(KEYS_VARIABLE):
        os.environ[KEYS_VARIABLE] = secrets.token_urlsafe(24)
        print(f"API key for this service: {os.environ[KEYS_VARIABLE]}", flush=True)
    from ray import serve

    from dermray.cluster import connect

    connect()
    serve.start(http_options={"host": host, "port": port})
    serve.run(application, name="dermray", route_prefix="/")
    print(f"serving on http://{host}:{port}  (documentation: http://{host}:{port}/docs); Ctrl-C ends it", flush=True)
    try:
        while True:
            time.sleep(3600)
    finally:
        serve.shutdown()


def require_free_port(host: str, port: int) -> None:
    """Refuse a taken port before anything is loaded.

    Raises:
        OSError: naming the port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(f"port {port} on {host}: {error.strerror}; choose another with --port") from None
