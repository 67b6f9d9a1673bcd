"""`dermray serve`: the service on this machine, until it is interrupted."""

import os
import secrets
import socket
import time

from dermray.serving.door import front
from dermray.serving.keys import FILE_VARIABLE, KEYS_VARIABLE, OFF_VARIABLE, keys_from_environment
from dermray.serving.settings import ServiceConfig


def serve_here(config: ServiceConfig, host: str, port: int) -> None:
    """Serve until interrupted. Without keys in the environment one is made and printed.

    Raises:
        OSError: the port is taken. FileNotFoundError, ValueError: a model is not there, or keys are not to be read.
    """
    from dermray.serving.app import build

    application = build(config)  # before Ray starts: a model that is missing is told in a second
    require_free_port(host, port)
    if os.environ.get(OFF_VARIABLE) and host not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError(f"{OFF_VARIABLE} with --host {host}: keys may be off on 127.0.0.1 only; set keys")
    if not any(os.environ.get(variable) for variable in (KEYS_VARIABLE, FILE_VARIABLE, OFF_VARIABLE)):
        os.environ[KEYS_VARIABLE] = secrets.token_urlsafe(24)
        print(f"API key for this service: {os.environ[KEYS_VARIABLE]}", flush=True)
    if os.environ.get(FILE_VARIABLE):
        os.environ[FILE_VARIABLE] = os.path.abspath(os.environ[FILE_VARIABLE])  # replicas may work elsewhere
    if keys_from_environment().off:
        print("KEYS ARE OFF: every program of this machine may use this service", flush=True)
    front.install(config.limits.body_bytes)
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
