"""Images/s of POST /v1/classifications at saturation over offline batches of the same model in one process.

    python -m benchmarks.serving_over_offline runs/quickstart

Both decode the same PNGs. 32 clients keep requests in flight; offline reads batches of 64 with one thread. The
clients run on the same cores as the service, as they would in a load test on one machine.
"""

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pyarrow.compute as pc
import torch

from dermray import manifest
from dermray.classification.batches import InMemory
from dermray.classification.training import probabilities
from dermray.datasets.decode import decode, square
from dermray.records import read_columns

REQUESTS, CLIENTS = 1500, 32


def offline(run: str, images: list[bytes]) -> float:
    """Images/s of decode and score."""
    from dermray.serving.classification import Classification

    torch.set_num_threads(1)
    model = Classification.func_or_class(f"{run}/sweep")  # type: ignore[attr-defined]  # serve.deployment adds it
    started = time.perf_counter()
    for first in range(0, len(images), 64):
        batch = [square(decode(image), model.size) for image in images[first : first + 64]]
        probabilities(model.saved.model, InMemory(np.stack(batch)), np.arange(len(batch)))
    return len(images) / (time.perf_counter() - started)


def online(run: str, images: list[bytes]) -> float:
    """Images/s over HTTP, after a warm-up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "dermray.cli", "serve", "--run", run, "--port", str(port)]
    service = subprocess.Popen(command, env=os.environ | {"DERMRAY_API_KEYS": "k"}, stdout=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(headers={"Authorization": "Bearer k"}, timeout=60) as client:
            for _ in range(240):
                try:
                    if client.get(f"{url}/healthz").status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                time.sleep(0.5)

            def ask(image: bytes) -> int:
                return client.post(f"{url}/v1/classifications", files={"image": image}).status_code

            with ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(ask, images[:100]))
                started = time.perf_counter()
                statuses = list(pool.map(ask, images))
                seconds = time.perf_counter() - started
        assert set(statuses) == {200}, set(statuses)
        return len(images) / seconds
    finally:
        service.terminate()
        service.wait()


def main(run: str) -> None:
    """Print both rates and their ratio."""
    rows = f"{manifest.read(f'{run}/ingest').data}/rows"
    images = read_columns(rows, ["image"], pc.field("status") == "ok")["image"].to_pylist()[:REQUESTS]
    served, batched = online(run, images), offline(run, images)
    print(
        f"served {served:.1f} images/s, offline {batched:.1f} images/s\nratio served / offline: {served / batched:.3f}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
