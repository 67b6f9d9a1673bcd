"""POST /v1/classifications at saturation over the same model offline in one process, and what a lone request adds.

    python -m benchmarks.serving_over_offline [rounds] [model ...]

Models are written into a directory: EfficientNet-Lite0 at 224 px, of the size of those in use, and the nano
test_resnet at 32 px, whose forward pass costs nothing. Weights are random: they cost the same. Offline decodes the
same PNGs and scores them in batches, in a thread; the replica has one CPU. Requests of one image and of 64 come over
32 and 4 open connections from a process of its own, which shares the cores. Offline and served take turns, and the
ratio is the median over rounds, because other work on the machine comes and goes. Where it does, several processes get
more of the cores than one, and the ratio of CPU seconds, on which the load has less influence, says more. The client
works on raw sockets, which takes a tenth of a request's CPU, where httpx takes as much as the service.
"""

import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

SIZES = {"tf_efficientnet_lite0": 224, "test_resnet": 32}  # px
SECONDS = 6.0  # of a turn
BATCH = 64
LONE = 60  # requests, one after the other


def write(directory: Path, name: str) -> None:
    """A classifier with random weights, validated on random images as trained ones are."""
    import torch

    from dermray.backbones.networks import Backbone, build
    from dermray.classification import saved
    from dermray.classification.batches import InMemory
    from dermray.classification.targets import Target
    from dermray.classification.training import probabilities
    from dermray.classification.validated import validate

    torch.manual_seed(0)
    directory.mkdir(parents=True)
    backbone, size = Backbone(name=name, learning_rate=1e-3), SIZES[name]
    model, target = build(backbone, 1).eval(), Target.of("malignant")
    shown = InMemory(np.random.default_rng(0).integers(0, 256, (48, 3, size, size), np.uint8))
    rows = np.arange(24, 48)
    scores = probabilities(model, shown, rows)
    said = validate(model, shown, np.arange(24), (rows, rows % 2), scores, 0)
    saved.save(directory, saved.Saved(model, backbone, target, size, said))


def lesions(size: int) -> list[bytes]:
    """64 PNGs of phantoms at the classifier's size."""
    from PIL import Image

    from dermray.datasets.decode import png

    rng, made = np.random.default_rng(1), list[bytes]()
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    for _ in range(BATCH):
        inside = rows**2 + columns**2 < rng.uniform(0.03, 0.12)
        pixels = np.where(inside[..., None], rng.integers(20, 120, 3), rng.integers(150, 230, 3))
        made.append(png(Image.fromarray((pixels + rng.normal(0, 3, pixels.shape)).clip(0, 255).astype(np.uint8))))
    return made


class Offline:
    """The model in this process, by one thread."""

    def __init__(self, directory: Path, images: list[bytes]) -> None:
        import torch

        from dermray.classification import saved

        torch.set_num_threads(1)
        self.saved, self.images = saved.load(directory), images

    def batch(self, images: list[bytes]) -> None:
        """Decode and score them together."""
        from dermray.classification.batches import InMemory
        from dermray.classification.training import probabilities
        from dermray.datasets.decode import decode, square
        from dermray.serving.classification.replica import PIXELS_ON_CPU

        shown = np.stack([square(decode(image), self.saved.image_size) for image in images])
        at_once = min(BATCH, max(1, PIXELS_ON_CPU // self.saved.image_size**2))  # as the replica's: twice as fast as 64
        probabilities(self.saved.model, InMemory(shown), np.arange(len(shown)), at_once)

    def rate(self) -> tuple[float, float]:
        """Images/s, and CPU seconds an image."""
        started, worked, count = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - started < SECONDS:
            self.batch(self.images)
            count += BATCH
        return count / (time.perf_counter() - started), (time.process_time() - worked) / count

    def forward(self) -> float:
        """Median seconds of a lone image, already decoded."""
        import torch

        image = torch.zeros(1, 3, self.saved.image_size, self.saved.image_size, dtype=torch.uint8)
        with torch.inference_mode():
            return statistics.median(timed(lambda: self.saved.model(image)) for _ in range(LONE))


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def request(key: str, model: str, images: list[bytes]) -> bytes:
    """The bytes of a whole HTTP request."""
    parts = [b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + model.encode() + b"\r\n"]
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="l.png"\r\nContent-Type: image/png\r\n\r\n'
    parts += [head + image + b"\r\n" for image in images]
    body = b"".join(parts) + b"--b--\r\n"
    lines = [
        "POST /v1/classifications HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}",
        "Content-Type: multipart/form-data; boundary=b", f"Content-Length: {len(body)}",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, given: bytes) -> int:
    """One request on an open connection: its status."""
    writer.write(given)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def load(port: int, given: list[bytes], connections: int, seconds: float, most: int | None) -> dict[str, Any]:
    """Requests of a closed loop: latencies in seconds, and how long all took."""
    latencies, statuses, started = list[float](), set[int](), time.perf_counter()

    async def client(first: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        number = first
        while time.perf_counter() - started < seconds and (most is None or len(latencies) < most):
            begun = time.perf_counter()
            statuses.add(await ask(reader, writer, given[number % len(given)]))
            latencies.append(time.perf_counter() - begun)
            number += connections
        writer.close()

    await asyncio.gather(*(client(first) for first in range(connections)))
    return {"latencies": latencies, "seconds": time.perf_counter() - started, "statuses": sorted(statuses)}


def from_another_process(port: int, file: str, connections: int, most: int | None = None) -> dict[str, Any]:
    """`load` by a client process."""
    command = [sys.executable, "-m", "benchmarks.serving_over_offline", "client", str(port), file, str(connections)]
    command += [str(most or 0)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(said)
    assert found["statuses"] == [200], found["statuses"]
    return found


def client_main(port: str, file: str, connections: str, most: str) -> None:
    """What that process does."""
    given = [bytes.fromhex(line) for line in Path(file).read_text().split()]
    seconds = SECONDS if most == "0" else 600
    print(json.dumps(asyncio.run(load(int(port), given, int(connections), seconds, int(most) or None))))


def cpu_seconds() -> dict[int, tuple[str, float]]:
    """User and system seconds by process of this machine's Serve: name, seconds."""
    found = dict[int, tuple[str, float]]()
    for process in psutil.Process().children(recursive=True):
        try:
            times, name = process.cpu_times(), process.name() + " " + " ".join(process.cmdline()[:1])
            found[process.pid] = (name[:60], times.user + times.system)
        except psutil.NoSuchProcess:
            continue
    return found


def spent(before: dict[int, tuple[str, float]]) -> dict[str, float]:
    """CPU seconds since then, by what Ray calls the process."""
    by_name: dict[str, float] = {}
    for pid, (name, seconds) in cpu_seconds().items():
        kind = next((k for k in ("ProxyActor", "Classification", "Api", "raylet", "gcs_server") if k in name), None)
        kind = kind or ("replica " + str(pid) if "ServeReplica" in name else "others")
        kind = name.split("ServeReplica:")[-1].split(" ")[0] if "ServeReplica" in name else kind
        by_name[kind] = by_name.get(kind, 0.0) + seconds - before.get(pid, (name, 0.0))[1]
    return {kind: seconds for kind, seconds in sorted(by_name.items(), key=lambda each: -each[1]) if seconds > 0.05}


def served(directory: Path) -> Iterator[tuple[int, str]]:
    """Port and key of the service on a Ray of its own."""
    from ray import serve

    from dermray.cluster import connect
    from dermray.config import validate
    from dermray.serving.app import build
    from dermray.serving.keys import KEYS_VARIABLE
    from dermray.serving.settings import ServiceConfig
    from tests.conftest import free_port

    port, key = free_port(), os.environ.setdefault(KEYS_VARIABLE, secrets.token_urlsafe(8))
    models = [{"task": "classification", "name": name, "model": str(directory / name)} for name in SIZES]
    limits = {"running": 256, "queued": 256}
    ray = connect()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(validate(ServiceConfig, {"models": models, "limits": limits})), name="dermray", route_prefix="/")
    yield port, key
    serve.shutdown()
    ray.shutdown()


def main(rounds: int, names: list[str]) -> None:
    """Print every round, and medians."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        for name in SIZES:
            write(directory / name, name)
        for port, key in served(directory):
            for name in names:
                compare(directory, name, port, key, rounds)


def compare(directory: Path, name: str, port: int, key: str, rounds: int) -> None:
    """One model."""
    images = lesions(SIZES[name])
    files = {1: str(directory / f"{name}.1"), BATCH: str(directory / f"{name}.{BATCH}")}
    Path(files[1]).write_text("\n".join(request(key, name, [image]).hex() for image in images))
    Path(files[BATCH]).write_text(request(key, name, images).hex())
    offline = Offline(directory / name, images)
    from_another_process(port, files[1], 4, 40)  # warm-up
    offline.batch(images)
    ratios: dict[int, list[float]] = {1: [], BATCH: []}
    by_work: dict[int, list[float]] = {1: [], BATCH: []}
    for _ in range(rounds):
        for many, connections in ((1, 32), (BATCH, 4)):
            base, work = offline.rate()
            before = cpu_seconds()
            found = from_another_process(port, files[many], connections)
            rate = many * len(found["latencies"]) / found["seconds"]
            ratios[many].append(rate / base)
            all_work = spent(before)
            asked = many * len(found["latencies"])
            by_work[many].append(work * asked / sum(all_work.values()))
            told = ", ".join(f"{kind} {1000 * s / asked:.2f}" for kind, s in all_work.items())
            print(
                f"{name}, {many} a request: offline {base:.1f}/s, served {rate:.1f}/s, ratio {rate / base:.3f}, load "
                f"{os.getloadavg()[0]:.1f}; CPU ms an image: offline {1000 * work:.2f}; {told}",
                flush=True,
            )
    bare, lone = list[float](), list[float]()
    for _ in range(rounds):
        bare.append(offline.forward())
        lone.append(statistics.median(from_another_process(port, files[1], 1, LONE)["latencies"]))
    added = 1000 * statistics.median(asked - alone for asked, alone in zip(lone, bare, strict=True))
    for many, values in ratios.items():
        work_ratio = statistics.median(by_work[many])
        print(
            f"{name}, {many} a request: ratio served / offline, median of {rounds}: {statistics.median(values):.3f}; "
            f"CPU of an image offline over all of the service's: {work_ratio:.3f}"
        )
    print(f"{name}, a lone request: {added:.1f} ms above {1000 * statistics.median(bare):.1f} ms of the forward pass")


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        client_main(*sys.argv[2:])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:] or list(SIZES))
