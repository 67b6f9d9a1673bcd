"""FID by dermray's streamed evaluation and by torch-fidelity, on the same images and the same extractor.

    python -m benchmarks.fid_over_torch_fidelity [features | small | inception]

1. From images to FID: `IMAGES` a side through timm's test_resnet, registered with torch-fidelity; and `FEW` a side
   through torch-fidelity's own Inception (random weights: what is compared is arithmetic). Ours goes through Ray Data,
   which runs already, with two actors on two cores; theirs has its four loaders.
2. From features of 2,048 numbers to FID, at 10,000 images a side: each in a process of its own.

Seconds are of the wall and, which other work on the machine hardly changes, of all processes' CPUs; memory is the peak
of the kernel's proportional set sizes over all processes of either side.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import timm
import torch
from safetensors.torch import save_file

from benchmarks.made_images import SIDE, make
from benchmarks.usage import cpu, family, own_cpu, peak
from dermray.evaluation.distribution import compare
from dermray.evaluation.extraction import PARTS, Images, Networks, extract, vectors
from dermray.evaluation.frechet import frechet
from dermray.evaluation.moments import Slots, total
from dermray.evaluation.settings import EvaluationConfig
from dermray.evaluation.stored import Stored
from dermray.features.extractor import open_extractor
from dermray.features.settings import ExtractorConfig
from dermray.manifest import Result

IMAGES, FEW, WIDTH, COUNT = 5_000, 100, 2048, 10_000


def ours(sides: list[Result], extractor: ExtractorConfig, place: Path) -> dict[str, float]:
    """Seconds, MiB and value; beside them the seconds of all distances with floors and intervals."""
    config = EvaluationConfig(output="o", rows="r", synthetic="s", groups=(), actors=2, batch_size=256)
    networks = Networks((extractor,), "")
    with peak(family) as memory:
        started, before = time.perf_counter(), cpu(family())
        for side in sides:
            extract(Images.synthetic(side), networks, SIDE, str(place / side.manifest.key), config)
        first, second = (Stored(str(place / side.manifest.key / "rows")) for side in sides)
        value = fid(first, second)
        seconds, computed = time.perf_counter() - started, cpu(family()) - before
        found = compare(first, second, 20, 2000).as_dict()
        everything = time.perf_counter() - started
    assert abs(found["frechet_all"] - value) < 1e-6 * value
    return {"seconds": seconds, "cpu": computed, "mib": memory[0], "value": value, "everything": everything}


def fid(first: Stored, second: Stored) -> float:
    """Of all images, streamed."""
    sides = []
    for side in (first, second):
        slots: Slots | None = None
        for block in side.blocks(side.features):
            slots = slots or Slots(1, block[side.features].shape[1])
            slots.add(block[side.features], np.zeros(len(block[side.features]), int))
        assert slots is not None
        sides.append(total(slots.moments()))
    return frechet(*sides)


def theirs(sides: list[Result], extractor: ExtractorConfig) -> dict[str, float]:
    """The same by torch-fidelity, in a process of its own."""
    folders = [str(Path(side.uri) / "files") for side in sides]
    return child("images", *folders, extractor.model_dump_json())


def child(*arguments: str) -> dict[str, float]:
    """Of this script: what its last line says, and its peak memory."""
    command = [sys.executable, "-m", "benchmarks.fid_over_torch_fidelity", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process, peak(lambda: family(process.pid)) as memory:
        out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(err)
    return json.loads(out.splitlines()[-1]) | {"mib": memory[0]}


def their_images(first: str, second: str, extractor: str) -> dict[str, float]:
    """torch-fidelity as its users call it."""
    import torch_fidelity
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    opened = open_extractor(ExtractorConfig.model_validate_json(extractor))

    class Registered(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("features",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            return (opened(images),)

    torch_fidelity.register_feature_extractor("the same", Registered)
    started, before = time.perf_counter(), own_cpu()
    found = torch_fidelity.calculate_metrics(
        input1=first, input2=second, fid=True, cuda=False, feature_extractor="the same", cache=False, verbose=False
    )
    took = {"seconds": time.perf_counter() - started, "cpu": own_cpu() - before}
    return took | {"value": float(found["frechet_inception_distance"])}


def store(folder: Path, count: int, seed: int) -> None:
    """As our extraction leaves them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed + 100)
    for start in range(0, count, 500):
        columns = {
            "status": ["ok"] * 500,
            "key": rng.integers(0, 2**64, 500, np.uint64),
            "part": rng.integers(0, 2 * PARTS, 500, np.uint8),
            "features_0": vectors(some(start, seed)),
        }
        pq.write_table(pa.table(columns), folder / f"{start:09}.parquet", use_dictionary=False)


def some(start: int, seed: int) -> np.ndarray:
    """(500, WIDTH) float32."""
    return np.random.default_rng((seed, start)).normal(seed / 10, 1, (500, WIDTH)).astype(np.float32)


def their_features(first: str, second: str) -> dict[str, float]:
    """torch-fidelity's functions on features in memory, as it holds them."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    started, before, statistics = time.perf_counter(), own_cpu(), []
    for folder in (first, second):
        read = [block["features_0"] for block in Stored(folder).blocks("features_0")]
        statistics.append(fid_features_to_statistics(torch.from_numpy(np.concatenate(read))))
    value = fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]
    return {"seconds": time.perf_counter() - started, "cpu": own_cpu() - before, "value": float(value)}


def our_features(first: str, second: str) -> dict[str, float]:
    """Streamed."""
    started, before = time.perf_counter(), own_cpu()
    value = fid(Stored(first), Stored(second))
    return {"seconds": time.perf_counter() - started, "cpu": own_cpu() - before, "value": value}


def line(what: str, mine: dict[str, float], other: dict[str, float]) -> None:
    """Both, the ratio of times, and how far the values differ."""
    apart = abs(mine["value"] - other["value"]) / other["value"]
    cells = [f"{mine[of]:8.1f} {other[of]:8.1f} {mine[of] / other[of]:6.2f}" for of in ("seconds", "cpu")]
    memory, rest = f"{mine['mib']:8.0f} {other['mib']:8.0f}", f"{mine['value']:12.5f} {apart:9.1e}"
    more = f"   with all distances {mine['everything']:.1f} s" if "everything" in mine else ""
    print(f"{what:34} {' '.join(cells)} {memory} {rest}{more}", flush=True)
    assert apart < 1e-3, "values differ"


def from_images(place: Path, what: str, count: int, extractor: ExtractorConfig) -> None:
    """Part 1."""
    sides = [make(place / name, count, shift, seed) for seed, (name, shift) in enumerate([("a", 0.0), ("b", 8.0)])]
    mine = ours(sides, extractor, place / "ours")
    line(f"{what}, {count} a side", mine, theirs(sides, extractor))


def from_features(place: Path) -> None:
    """Part 2."""
    folders = [place / str(seed) for seed in (1, 2)]
    for seed, folder in enumerate(folders, 1):
        store(folder, COUNT, seed)
    paths = list(map(str, folders))
    first = child("our-features", *paths)
    line(f"{WIDTH} features, {COUNT} a side", first, child("their-features", *paths))


def small(place: Path) -> None:
    """Part 1, a network that costs little."""
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", num_classes=2).state_dict(), place / "small.safetensors")
    extractor = ExtractorConfig(kind="timm", name="test_resnet", weights=str(place / "small.safetensors"))
    from_images(place, "test_resnet", IMAGES, extractor)


def inception(place: Path) -> None:
    """Part 1, the network of FID."""
    torch.save(random_inception(), place / "inception.pth")
    from_images(place, "Inception", FEW, ExtractorConfig(kind="inception", weights=str(place / "inception.pth")))


def main(parts: list[str]) -> None:
    """One line a comparison."""
    from dermray.cluster import connect

    head = f"{'s, ours':>8} {'theirs':>8} {'ratio':>6} {'CPU s':>8} {'theirs':>8} {'ratio':>6} {'MiB':>8} {'theirs':>8}"
    print(f"{'':34} {head} {'value':>12} {'differ':>9}", flush=True)
    for part, run in (("features", from_features), ("small", small), ("inception", inception)):
        if part in parts or not parts:
            if part != "features":
                connect()
            with tempfile.TemporaryDirectory() as directory:
                run(Path(directory))


def random_inception() -> dict[str, torch.Tensor]:
    """Weights of torch-fidelity's Inception that no training gave, whose features do not vanish."""
    from tests.features.tiny_networks import inception_state

    return inception_state()


if __name__ == "__main__":
    children: dict[str, Callable[..., dict[str, float]]] = {
        "images": their_images,
        "our-features": our_features,
        "their-features": their_features,
    }
    if len(sys.argv) > 1 and sys.argv[1] in children:
        print(json.dumps(children[sys.argv[1]](*sys.argv[2:])))
    else:
        main(sys.argv[1:])
