"""What text and signatures in a PNG cost over writing the bare PNG: CPU time and bytes an image, in one run.

    python -m benchmarks.provenance_cost [--images 60] [--rounds 7]

CPU time of all threads of this process. The ways take turns image by image, so that a busy machine is busy for all of
them; ratios are medians over the rounds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from dermray.config import validate
from dermray.datasets.decode import png
from dermray.datasets.renderer import draw_truth, render
from dermray.provenance import reading, signing, text
from dermray.provenance.settings import SigningConfig
from tests.provenance.certificates import signer

SAID = text.said(
    family="pixel_dermdit", generator="0123456789ab", licence="CC0-1.0", seed=1 << 61, guidance_scale=2.0, steps=20,
    prompt="malignant, skin tone B: asymmetric lesion with an irregular border, dark brown and black, some blue-gray.",
)  # fmt: skip
ALGORITHMS = ("es256", "ps256", "ed25519")
Way = Callable[[np.ndarray], bytes]


def main() -> None:
    """Print two tables in Markdown, of 64 px and of 512 px."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        signers = {kind: _signer(Path(folder) / kind, kind) for kind in ALGORITHMS}
    for size in (64, 512):
        rng = np.random.default_rng(0)
        images = [render(draw_truth(rng), (0, i), size).image for i in range(asked.images)]
        _table(size, images, _ways(signers), asked.rounds)


def _signer(folder: Path, kind: str) -> signing.Signer:
    return signing.opened(validate(SigningConfig, signer(folder, kind).config))


def _ways(signers: dict[str, signing.Signer]) -> dict[str, Way]:
    def signed(by: signing.Signer) -> Way:
        return lambda image: by.sign(text.png(image, SAID), SAID)

    bare: dict[str, Way] = {
        "bare PNG": lambda image: png(Image.fromarray(image)),
        "with text": lambda image: text.png(image, SAID),
    }
    return bare | {f"with text, signed by {kind}": signed(by) for kind, by in signers.items()}


def _table(size: int, images: list[np.ndarray], ways: dict[str, Way], rounds: int) -> None:
    seconds = {name: [0.0] * rounds for name in ways}
    sizes, signed = dict.fromkeys(ways, 0), b""
    turns = np.random.default_rng(0)  # what comes after a signature finds cold caches
    for number, image in ((n, image) for n in range(rounds) for image in images):
        for name, way in turns.permutation(np.array(list(ways.items()), object)):
            began = time.process_time()
            made = way(image)
            seconds[name][number] += time.process_time() - began
            sizes[name] += len(made)
            signed = made if "signed" in name else signed
    assert reading.read(signed).state == "Valid"
    print(f"\n{len(images)} phantoms of {size} px, {rounds} rounds\n")
    print("| way | CPU ms an image | CPU ms more | ratio to bare | least to most | bytes | bytes more |")
    print("|---|---:|---:|---:|---|---:|---:|")
    bare, each = seconds["bare PNG"], len(images) * rounds
    for name in ways:
        ratios = [own / base for own, base in zip(seconds[name], bare, strict=True)]
        took, base = (statistics.median(times) / len(images) * 1e3 for times in (seconds[name], bare))
        told = f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f}"
        more = (sizes[name] - sizes["bare PNG"]) / each
        print(f"| {name} | {took:.2f} | {took - base:.2f} | {told} | {sizes[name] / each:.0f} | {more:.0f} |")


if __name__ == "__main__":
    main()
