"""Offered load against goodput, latency and refusals: Poisson arrivals, whether or not those before are answered.

python -m benchmarks.serving_load [SECONDS]     (10 for each line of the table)

Small models on this machine, which also makes the load; each table begins with what 16 clients get that wait for their
answers, and offers shares of that.
"""

import asyncio
import io
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import httpx
from PIL import Image

from benchmarks.open_loop import Send, closed_loop, open_loop, percentile
from dermray.cluster import prepare_environment

KEY, CLIENTS = "benchmark", 16
SHARES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
LIMITS = {"running": 32, "queued": 32}


def start(folder: Path) -> str:
    """Serve a generator and a classifier; the URL."""
    from ray import serve

    from dermray.cluster import connect
    from dermray.config import validate
    from dermray.serving.app import build
    from dermray.serving.settings import ServiceConfig
    from tests.conftest import free_port
    from tests.serving.models import write_classifier, write_generator

    write_generator(folder / "generator")
    write_classifier(folder / "classifier")
    models = [
        {"task": "generation", "name": "pixel", "model": str(folder / "generator"), "steps": 10},
        {"task": "classification", "name": "resnet", "model": str(folder / "classifier")},
    ]
    port = free_port()
    connect()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(validate(ServiceConfig, {"models": models, "limits": LIMITS})), name="dermray", route_prefix="/")
    return f"http://127.0.0.1:{port}"


async def table(client: httpx.AsyncClient, what: str, send: Send, seconds: float) -> None:
    """One kind of request."""
    await closed_loop(send, CLIENTS, 2)
    capacity = len(await closed_loop(send, CLIENTS, seconds)) / seconds
    print(f"\n**{what}**: {CLIENTS} clients that wait for their answers get {capacity:.1f}/s\n")
    print("| offered /s | answered /s | p50 ms | p95 ms | p99 ms | 429 | others | load of the machine |")
    print("|---|---|---|---|---|---|---|---|")
    for share in SHARES:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers = await open_loop(send, share * capacity, seconds, seed=int(100 * share))
        took, told = loop.time() - began, Counter(answer.status for answer in answers)
        times = " | ".join(f"{1e3 * percentile(answers, part):.0f}" for part in (0.5, 0.95, 0.99))
        others = len(answers) - told[200] - told[429]
        print(
            f"| {len(answers) / seconds:.1f} | {told[200] / took:.1f} | {times} | {told[429]} | {others} | "
            f"{os.getloadavg()[0]:.1f} |",
            flush=True,
        )


async def tables(url: str, seconds: float) -> None:
    """Both kinds."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "tan").save(buffer, "PNG")
    prompt = "malignant, skin tone B: red."
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120, limits=limits) as client:

        async def classify(_: int) -> httpx.Response:
            return await client.post("/v1/classifications", files={"image": buffer.getvalue()})

        async def draw(number: int) -> httpx.Response:
            return await client.post("/v1/images/generations", json={"prompt": prompt, "seed": number})

        await table(client, "Classification, 64 px, a residual network of 32 px", classify, seconds)
        await table(client, "Generation, 16 px, 10 steps", draw, seconds)


def main() -> None:
    """Both tables."""
    prepare_environment()
    os.environ["DERMRAY_API_KEYS"] = KEY
    import ray
    from ray import serve

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(tables(start(Path(folder)), float(sys.argv[1]) if sys.argv[1:] else 10))
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
