"""Images/s of a generator behind the service over the offline sampler in one process: pixel_dermdit at 32 px.

    python -m benchmarks.generation_over_offline

Both draw the same images: steps and guidance are mixed, as clients mix them. Offline draws groups of equal parameters,
which is all that `sample` can, once as `generate` does (all of a batch in one forward) and once in forwards of fixed
rows, which is what the service does. All on one thread; seconds are the CPU's of the thread that
draws, beside wall-clock, because other work on the machine must not count. The clients share the machine's cores.
"""

import asyncio
import json
import os
import secrets
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import torch

from dermray.generators.base import Generator, Request, family
from tests.generators.conftest import CAPTIONS

ROWS, CLIENTS, COUNT = 4, 24, 96
MIX = [(steps, scale) for steps in (8, 12, 20) for scale in (1.0, 2.0, 3.5)]


def wanted() -> list[tuple[Request, float, int]]:
    """Images, guidance, steps."""
    mix = [MIX[i % len(MIX)] for i in range(COUNT)]
    return [(Request(CAPTIONS[i % 2], i), scale, steps) for i, (steps, scale) in enumerate(mix)]


def made(directory: Path) -> Generator:
    """A generator of the nano preset's size, saved."""
    torch.manual_seed(0)
    cls: Any = family("pixel_dermdit")
    generator: Generator = cls.from_captions(cls.Config(), CAPTIONS)
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    generator.save(directory)
    return generator.eval()


def offline(generator: Generator, rows: int | None) -> tuple[float, float]:
    """Wall-clock and CPU seconds for all images."""
    generator.rows = rows
    groups = defaultdict(list)
    for request, scale, steps in wanted():
        groups[(scale, steps)].append(request)
    wall, cpu = time.perf_counter(), time.thread_time()
    for (scale, steps), requests in groups.items():
        generator.sample(requests, scale, steps)
    return time.perf_counter() - wall, time.thread_time() - cpu


async def online(url: str, key: str) -> float:
    """Wall-clock seconds for all images, `CLIENTS` requests in flight."""
    free = asyncio.Semaphore(CLIENTS)
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=600) as client:

        async def ask(request: Request, scale: float, steps: int) -> None:
            body = {"prompt": request.prompt, "seed": request.seed, "guidance_scale": scale, "steps": steps}
            async with free:
                answer = await client.post(f"{url}/v1/images/generations", json=body)
            assert answer.status_code == 200, answer.text

        began = time.perf_counter()
        await asyncio.gather(*(ask(*each) for each in wanted()))
        return time.perf_counter() - began


def main() -> None:
    """Print the figures as JSON."""
    torch.set_num_threads(1)
    directory, key = Path(tempfile.mkdtemp()) / "generator", secrets.token_urlsafe(8)
    generator = made(directory)
    os.environ["DERMRAY_API_KEYS"] = key
    from ray import serve

    from dermray.cluster import connect
    from dermray.config import validate
    from dermray.serving.app import build
    from dermray.serving.settings import ServiceConfig
    from tests.conftest import free_port

    port = free_port()
    model = {"task": "generation", "name": "pixel", "model": str(directory), "rows": ROWS}
    connect()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(validate(ServiceConfig, {"models": [model]})), name="dermray", route_prefix="/")
    replica = serve.get_deployment_handle("pixel", "dermray")
    asyncio.run(online(f"http://127.0.0.1:{port}", key))  # warm
    rounds = []
    for _ in range(3):
        whole, fixed = offline(generator, None), offline(generator, ROWS)
        before = replica.drawing_seconds.remote().result()
        served = asyncio.run(online(f"http://127.0.0.1:{port}", key))
        wall, cpu = (b - a for a, b in zip(before, replica.drawing_seconds.remote().result(), strict=True))
        rounds.append(
            {
                "offline_whole_batches": whole, "offline_fixed_rows": fixed, "served_wall": served,
                "served_thread_wall": wall, "served_thread_cpu": cpu,
                "ratio_wall_over_whole_batches": whole[0] / served, "ratio_wall_over_fixed_rows": fixed[0] / served,
                "ratio_cpu_over_whole_batches": whole[1] / cpu, "ratio_cpu_over_fixed_rows": fixed[1] / cpu,
            }
        )  # fmt: skip
        print(json.dumps({k: v if isinstance(v, tuple) else round(v, 3) for k, v in rounds[-1].items()}), flush=True)
    serve.shutdown()


if __name__ == "__main__":
    main()
