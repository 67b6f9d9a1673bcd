"""What the memorisation gate costs an image, and the brute force that a user would do instead, in one run.

    python -m benchmarks.gate_cost --images 1000 100000

The training images are smooth noise and their embeddings are random: that decides how long a search takes as little as
which photographs they are would, and describing 100,000 photographs would take minutes. What is timed is all that a
drawn image costs: embedding, both searches, both exact comparisons. Brute force compares raw pixels over the eight
orientations with all training images, 4,096 at a time, as the gate did before it had an index.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dermray.features.settings import ExtractorConfig
from dermray.synthesis.gate import building, network
from dermray.synthesis.gate.gate import NETWORK, Looks
from dermray.synthesis.gate.index import VERSION, About
from dermray.synthesis.gate.stage import size_of
from dermray.synthesis.gate.thumbnails import orientations

BLOCK = 10_000


def smooth(count: int, side: int, random: torch.Generator) -> Tensor:
    """(N, 3, side, side) uint8."""
    rough = torch.randint(0, 256, (count, 3, 4, 4), generator=random, dtype=torch.uint8).float()
    return F.interpolate(rough, (side, side), mode="bilinear", align_corners=False).round().to(torch.uint8)


def make_index(count: int, place: Path) -> None:
    """An index of so many images."""
    random, torch_random = np.random.default_rng(0), torch.Generator().manual_seed(0)
    made = network.CopyNetwork().eval()
    network.save(made, place / NETWORK)
    for start in range(0, count, BLOCK):
        size, sink = min(BLOCK, count - start), io.BytesIO()
        vectors = random.standard_normal((size, made.width), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = np.array([f"{number:064d}".encode() for number in range(start, start + size)])
        np.savez(
            sink, thumbnails=smooth(size, 16, torch_random).numpy(), embeddings=vectors.astype(np.float16), ids=ids
        )
        file = place / building.BLOCKS / f"{start:06d}.npz"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(sink.getvalue())
    about = About(version=VERSION, generator="none", images=count, extractor_name="none", extractor_hash=made.hash,
                  extractor=ExtractorConfig().model_dump(mode="json"))  # fmt: skip
    building.joined(str(place), about)


def brute_force(image: Tensor, training: Tensor) -> float:
    """The least root mean square distance of raw pixels."""
    turned = torch.stack(orientations(image)).flatten(1).float() / 255
    parts = (torch.cdist(turned, part.flatten(1).float() / 255).min() for part in training.split(4096))
    return float(torch.stack(list(parts)).min())


def milliseconds(work: Callable[[Tensor], object], images: Tensor) -> tuple[float, float]:
    """Of CPU time and by the clock, for each image; one goes ahead uncounted."""
    work(images[0])
    cpu, clock = time.process_time(), time.perf_counter()
    for image in images:
        work(image)
    return tuple((end - begin) / len(images) * 1e3 for end, begin in  # type: ignore[return-value]
                 ((time.process_time(), cpu), (time.perf_counter(), clock)))  # fmt: skip


def main() -> None:
    """Print a line for each number of training images."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--size", type=int, default=32, help="px of what is drawn, and of what brute force compares")
    parser.add_argument("--drawn", type=int, default=20)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    drawn = smooth(asked.drawn, asked.size, torch.Generator().manual_seed(1))
    for count in asked.images:
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            make_index(count, Path(folder))
            built, looks = time.process_time() - began, Looks(folder)
            cpu, clock = milliseconds(looks.seen, drawn)
            stored = size_of(folder) / count
        training = torch.randint(0, 256, (count, 3, asked.size, asked.size), dtype=torch.uint8)
        brute_cpu, brute_clock = milliseconds(lambda image, to=training: brute_force(image, to), drawn[:3])  # type: ignore[misc]
        print(
            f"{count} training images: gate {cpu:.1f} CPU ms ({clock:.1f} by the clock) an image, {stored:.0f} bytes "
            f"a training image in shared files, put together in {built:.1f} CPU s; brute force {brute_cpu:.1f} CPU ms "
            f"({brute_clock:.1f}), {3 * asked.size**2} bytes in each process; brute force / gate {brute_cpu / cpu:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
