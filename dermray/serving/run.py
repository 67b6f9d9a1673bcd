"""`dermray serve`: the service on this machine, until it is interrupted."""

import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from dermray.serving.door import front
from dermray.serving.keys import FILE_VARIABLE, KEYS_VARIABLE, OFF_VARIABLE, keys_from_environment
from dermray.serving.settings import ServedGenerator, ServiceConfig

# As the Serve config files have them, which say why.
HTTP = {"request_timeout_s": 120.0, "keep_alive_timeout_s": 75}


def serve_here(config: ServiceConfig, host: str, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM. Without keys in the environment one is made and printed.

    Raises:
        OSError: the port is taken. FileNotFoundError, ValueError: a model is not there, there is no room for it, or
            keys are not to be read.
    """
    require_free_port(host, port)
    from dermray.serving.app import build
    from dermray.serving.runs import with_models_of_run

    config = with_models_of_run(config)
    application = build(config)  # before Ray starts: a model that is missing is told in a second
    _settle_keys(host)
    front.install(config.limits.body_bytes)
    with contextlib.suppress(Stopped), _until_stopped():
        # which takes long enough on a busy machine to look dead
        print(f"starting Ray and {', '.join(model.name for model in config.models) or 'the endpoints'}", flush=True)
        _start(config, application, host, port)
        print("\n".join(said(config, host, port)), flush=True)
        while True:
            time.sleep(3600)


def _settle_keys(host: str) -> None:
    if os.environ.get(OFF_VARIABLE) and host not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError(f"{OFF_VARIABLE} with --host {host}: keys may be off on 127.0.0.1 only; set keys")
    if not any(os.environ.get(variable) for variable in (KEYS_VARIABLE, FILE_VARIABLE, OFF_VARIABLE)):
        os.environ[KEYS_VARIABLE] = secrets.token_urlsafe(24)
        print(f"API key for this service: {os.environ[KEYS_VARIABLE]}", flush=True)
    if os.environ.get(FILE_VARIABLE):
        os.environ[FILE_VARIABLE] = os.path.abspath(os.environ[FILE_VARIABLE])  # replicas may work elsewhere
    if keys_from_environment().off:
        print("KEYS ARE OFF: every program of this machine may use this service", flush=True)


def _start(config: ServiceConfig, application: Any, host: str, port: int) -> None:
    import ray
    from ray import serve

    from dermray.cluster import connect
    from dermray.serving.placing import require_room

    connect()
    signal.signal(signal.SIGTERM, _stop)  # Ray's own handler ends this process at once
    require_room(config, ray.cluster_resources())
    serve.start("HeadOnly", http_options={"host": host, "port": port} | HTTP)
    try:
        serve.run(application, name="dermray", route_prefix="/")
    except RuntimeError as error:  # which says that a deployment failed; what a replica said is in its status
        found = serve.status().applications["dermray"].deployments.items()
        reasons = [f"{name}: {part.message.strip().splitlines()[-1]}" for name, part in found if part.message.strip()]
        raise RuntimeError("; ".join(reasons) or str(error)) from None


def said(config: ServiceConfig, host: str, port: int) -> list[str]:
    """What a user is told once the service answers."""
    url = f"http://{host}:{port}"
    lines = [f"serving on {url}  (documentation: {url}/docs); Ctrl-C ends it"]
    for model in config.models:
        lines.append(f"  {model.task:<15} {model.name}  {model.source}")
        if isinstance(model, ServedGenerator):
            lines += [f"  {'':<15} {model.name}:{name}  {adapter.place}" for name, adapter in model.adapters.items()]
            lines += [f"  {'':<15} {model.name}:...  {model.adapters_from}"] if model.adapters_from else []
    lines += [f"  {'reader study':<15} {url}/reader-study/{one.name}  {one.study}" for one in config.reader_studies]
    served = {model.task for model in config.models}
    for task, path in (("generation", "/v1/images/generations"), ("classification", "/v1/classifications")):
        if task not in served:
            lines.append(f"  no model for {task}: {path} answers 404")
    if "captioning" not in served:
        lines.append("  no model for captioning: /v1/captions answers 404; captioner=true serves a run's")
    return lines


class Stopped(BaseException):
    """Somebody wants the service to end."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


@contextlib.contextmanager
def _until_stopped() -> Iterator[None]:
    """Ends Serve and Ray, whatever happens inside: the replicas first, so that requests at work get their answers."""
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number in before:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C would leave processes behind
        _end()
        for number, handler in before.items():
            signal.signal(number, handler)


def _end() -> None:
    import ray
    from ray import serve

    if ray.is_initialized():
        print("ending the service", flush=True)
        with _in_silence():
            serve.shutdown()
            ray.shutdown()


@contextlib.contextmanager
def _in_silence() -> Iterator[None]:
    """Ray's threads tell of Serve's controller that the task which ended it died with it; errors are still raised."""
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in kept:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    try:
        yield
    finally:
        for descriptor, copy in kept.items():
            os.dup2(copy, descriptor)
            os.close(copy)


def require_free_port(host: str, port: int) -> None:
    """Refuse a taken port before anything is loaded.

    Raises:
        OSError: naming the port.
    """
    if not 0 < port < 1 << 16:
        raise OSError(f"port {port}: expected 1 to {(1 << 16) - 1}; choose another with --port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(f"port {port} on {host}: {error.strerror}; choose another with --port") from None
