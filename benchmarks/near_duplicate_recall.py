"""Which changed copies of real photographs the searches for near duplicates find, and whom else they join.

    python -m benchmarks.near_duplicate_recall FOLDER_OF_DATA FOLDER_OF_FEATURES

The first folder holds others, each with `images/`; features of each kind of copy are kept in the second, so that a run
that was stopped goes on. Copies are made at full size, and saved as JPEG or not at all.
"""

import hashlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance

from benchmarks.gate_recall import LITE0
from dermray.datasets.decode import decode
from dermray.datasets.embedded_duplicates import Features, look_alikes
from dermray.datasets.embedding import THUMBNAIL, features_of, thumbnail
from dermray.datasets.embedding_settings import EmbeddingSearch
from dermray.datasets.near_duplicates import fingerprint, near_duplicates
from dermray.datasets.splits import leak_groups
from dermray.features.extractor import open_extractor

ORIGINAL = "original"
SEARCH = EmbeddingSearch(extractor=LITE0)


def cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A tenth of each side is cut off, somewhere."""
    width, height = (round(0.9 * side) for side in image.size)
    left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    return image.crop((int(left), int(top), int(left) + width, int(top) + height))


def shone(image: Image.Image, factor: float) -> Image.Image:
    """Lighter or darker."""
    return ImageEnhance.Brightness(image).enhance(factor)


def encoded(image: Image.Image) -> Image.Image:
    """Through JPEG of quality 50."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer).convert("RGB")


def halved(image: Image.Image) -> Image.Image:
    """By Pillow's own choice of a filter."""
    return image.resize((image.width // 2, image.height // 2))


def shrunk(image: Image.Image, longest: int) -> Image.Image:
    """The longest side at so many px, likewise."""
    factor = longest / max(image.size)
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))))


def several(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A quarter turn, a crop, 10% brighter, half the size, JPEG."""
    turned = cropped(image.transpose(Image.Transpose.ROTATE_90), rng)
    return encoded(halved(shone(turned, 1.1)))


Copy = Callable[[Image.Image, np.random.Generator], Image.Image]
KINDS: dict[str, Copy] = {
    ORIGINAL: lambda image, rng: image,
    "mirrored": lambda image, rng: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upset": lambda image, rng: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned by 90": lambda image, rng: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 180": lambda image, rng: image.transpose(Image.Transpose.ROTATE_180),
    "turned by 270": lambda image, rng: image.transpose(Image.Transpose.ROTATE_270),
    "cropped by 10% of each side": cropped,
    "20% brighter": lambda image, rng: shone(image, 1.2),
    "20% darker": lambda image, rng: shone(image, 0.8),
    "JPEG of quality 50": lambda image, rng: encoded(image),
    "half the size": lambda image, rng: halved(image),
    "128 px": lambda image, rng: shrunk(image, 128),
    "turned, cropped, brighter, halved, JPEG": several,
}
Seen = dict[str, np.ndarray]  # hashes, prints, vectors, thumbnails


def copies_of(files: list[Path], kind: str) -> Iterator[Image.Image]:
    """A copy of each."""
    for number, file in enumerate(files):
        yield KINDS[kind](decode(file.read_bytes()), np.random.default_rng(number))


def printed(files: list[Path], kind: str) -> Seen:
    """Hashes and both thumbnails of the copies."""
    hashes, prints, thumbnails = list[int](), list[bytes](), list[bytes]()
    for copy in copies_of(files, kind):
        value, small = fingerprint(copy)
        hashes.append(value)
        prints.append(small)
        thumbnails.append(thumbnail(copy))
    return {
        "hashes": np.array(hashes, np.uint64),
        "prints": np.frombuffer(b"".join(prints), np.uint8).reshape(len(files), -1),
        "thumbnails": np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, 3, THUMBNAIL, THUMBNAIL),
    }


def looked_at(files: list[Path], kind: str, kept: Path) -> Seen:
    """What the searches see of a copy of each file: what is kept of it, or computed now and kept."""
    prints, vectors = kept / f"{kind} prints.npz", kept / f"{kind} vectors.npy"
    if not prints.exists():
        np.savez(kept / "part.npz", allow_pickle=False, **printed(files, kind))
        (kept / "part.npz").rename(prints)
    if not vectors.exists():
        extractor = open_extractor(LITE0)
        np.save(kept / "part.npy", np.stack([features_of(extractor, copy) for copy in copies_of(files, kind)]))
        (kept / "part.npy").rename(vectors)
    with np.load(prints) as saved:
        return dict(saved) | {"vectors": np.load(vectors)}


def by_hash(seen: Seen) -> np.ndarray:
    """Links (M, 2) of the search that every ingest makes."""
    return near_duplicates(seen["hashes"], seen["prints"]).links


def by_embedding(seen: Seen) -> np.ndarray:
    """Links (M, 2) of the search that a config asks for."""
    features = Features(np.arange(len(seen["vectors"])), seen["vectors"], seen["thumbnails"], "")
    return look_alikes(features, SEARCH.max_distance)[0]


def line(kind: str, originals: Seen, copies: Seen, same: np.ndarray) -> str:
    """A row of the table: of each search and of both the share of copies found, and pairs of different photographs.

    Args:
        same: (N,) numbers, equal for photographs that are known to be equal.
    """
    seen, whose = {name: np.concatenate([originals[name], copies[name]]) for name in originals}, np.tile(same, 2)
    links, cells = [by_hash(seen), by_embedding(seen)], list[str]()
    for found in (*links, np.concatenate(links)):
        groups = leak_groups([np.arange(len(whose))], found)
        strangers = {tuple(link) for link in found.tolist() if whose[link[0]] != whose[link[1]]}
        cells += [f"{(groups[: len(same)] == groups[len(same) :]).mean():.3f}", str(len(strangers))]
    return f"| {kind} | {' | '.join(cells)} |"


def main(data: Path, kept: Path) -> None:
    """Print the table."""
    files = sorted(file for file in data.glob("*/images/*") if file.is_file())
    digests = [hashlib.sha256(decode(file.read_bytes()).tobytes()).hexdigest() for file in files]
    _, same = np.unique(digests, return_inverse=True)
    seen = {kind: looked_at(files, kind, kept) for kind in KINDS}
    print(f"{len(files)} images, {len(files) - len(set(digests))} of them with the pixels of another")
    for name, search in (("hash", by_hash), ("embedding", by_embedding)):
        pairs = [" = ".join(files[place].name for place in link) for link in search(seen[ORIGINAL]).tolist()]
        print(f"pairs of these by {name}: {', '.join(pairs)}")
    print("\n| copy | by hash | strangers | by embedding | strangers | by either | strangers |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for kind in list(KINDS)[1:]:
        print(line(kind, seen[ORIGINAL], seen[kind], same), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
