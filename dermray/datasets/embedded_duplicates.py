"""Near duplicates by a network's features: crops above all, which no perceptual hash finds.

The nearest images of each are found by principal components of their features, exactly or, of many, in the nearest
clusters. Components are never farther apart than the features, so none is lost by them. Those whose features are near
are then laid over each other by a small affine change, in the best of the eight orientations, and what is left decides:
features of two moles can be as near as those of a mole and its crop, and among a million images some are.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from dermray.columns import batches
from dermray.datasets.embedding import COLUMNS, THUMBNAIL
from dermray.datasets.embedding_settings import Alike
from dermray.synthesis.gate.index import clustered, empty_index
from dermray.synthesis.gate.projection import Projection
from dermray.synthesis.gate.registration import residuals
from dermray.synthesis.gate.thumbnails import orientations, standardised

NEIGHBOURS = 32  # of each image that are compared, the nearest ones
MAX_RESIDUAL = 0.2  # of standardised thumbnails after alignment: most crops of a tenth stay below
LEARNED_FROM = 4096  # images, of whose features the components are; and CLUSTERED_BY for each cluster
CLUSTERED_BY = 20
QUERIES, PAIRS = 4096, 512  # looked for, and aligned, at once


class Features(NamedTuple):
    """Of all images, in files that are mapped into memory."""

    names: np.ndarray  # (N,) uint64
    vectors: np.ndarray  # (N, D) float16 of length 1
    thumbnails: np.ndarray  # (N, 3, 16, 16) uint8
    extractor: str  # hash of its weights


class Counts(NamedTuple):
    """Images with more than NEIGHBOURS others that may be near, of which only the nearest were compared."""

    cut: int  # by their components, which are nearer to each other than their features
    crowded: int  # of which all that were compared were near: so more of them may be


def find(embedded: str, max_distance: float) -> Alike:
    """Pairs of rows that show the same picture.

    Args:
        embedded: directory of `embedding.embed_all`.
    """
    with tempfile.TemporaryDirectory() as folder:
        features = _read(embedded, Path(folder))
        if len(features.names) < 2:
            return Alike(np.empty((0, 2), np.uint64), _facts(features, 0, Counts(0, 0)))
        links, counts = look_alikes(features, max_distance)
    return Alike(features.names[links], _facts(features, len(links), counts))


def _facts(features: Features, pairs: int, counts: Counts) -> dict[str, object]:
    exact = not clustered(len(features.names))
    return {"images": len(features.names), "pairs": pairs, "exact": exact, "extractor_hash": features.extractor,
            "cut": counts.cut, "crowded": counts.crowded}  # fmt: skip


def look_alikes(features: Features, max_distance: float) -> tuple[np.ndarray, Counts]:
    """Links (M, 2) between places of images that show the same picture, and what was not compared."""
    links, cut, crowded = [np.empty((0, 2), np.int64)], 0, 0
    for near, counts in _near(features.vectors, max_distance):
        cut, crowded = cut + counts.cut, crowded + counts.crowded
        links += [part[_same_picture(features.thumbnails, part)] for part in _parts(near, PAIRS)]
    return np.unique(np.sort(np.concatenate(links), 1), axis=0), Counts(cut, crowded)


def _read(embedded: str, folder: Path) -> Features:
    count, features, end = sum(len(batch) for batch in batches(embedded, ["name"])), None, 0
    for batch in batches(embedded, COLUMNS) if count else ():
        vectors, thumbnails = (_array(batch[name]) for name in ("vector", "thumbnail"))
        if features is None:
            features = Features(
                np.empty(count, np.uint64),
                np.lib.format.open_memmap(folder / "v.npy", "w+", np.float16, (count, vectors.shape[1] // 2)),
                np.lib.format.open_memmap(folder / "t.npy", "w+", np.uint8, (count, 3, THUMBNAIL, THUMBNAIL)),
                batch["extractor"][0].as_py(),
            )
        here = slice(end, end + len(batch))
        features.names[here] = batch["name"]
        features.vectors[here] = np.ascontiguousarray(vectors).view(np.float16)
        features.thumbnails[here] = thumbnails.reshape(-1, 3, THUMBNAIL, THUMBNAIL)
        end += len(batch)
    empty = np.empty((0, 0), np.float16)
    return features or Features(np.empty(0, np.uint64), empty, empty.astype(np.uint8), "")


def _array(column: pa.Array) -> np.ndarray:
    return np.stack([np.frombuffer(value.as_buffer(), np.uint8) for value in column])


def _near(vectors: np.ndarray, max_distance: float) -> Iterator[tuple[np.ndarray, "Counts"]]:
    """Pairs (M, 2) at most so far apart, block by block of the first, and what was not compared with these."""
    count = len(vectors)
    chosen = np.linspace(0, count - 1, min(count, max(LEARNED_FROM, CLUSTERED_BY * clustered(count)))).astype(np.int64)
    sample = vectors[chosen].astype(np.float32)
    components = Projection.fitted(sample)
    index = empty_index(count, components(sample))
    codes = np.concatenate([components(part.astype(np.float32)) for part in _parts(vectors, QUERIES)])
    index.add(codes)
    farthest = 2 * max_distance  # between unit vectors, squared
    for start in range(0, count, QUERIES):
        queries = np.arange(start, min(start + QUERIES, count))
        distances, found = index.search(codes[queries], min(NEIGHBOURS + 1, count))  # itself among them
        within = (distances <= farthest) & (found >= 0)
        cut = int(within[:, NEIGHBOURS].sum()) if found.shape[1] > NEIGHBOURS else 0
        pairs = np.stack([np.repeat(queries, within.sum(1)), found[within]], 1)
        parts = [_apart(vectors, part) <= max_distance for part in _parts(pairs, QUERIES)]
        near = pairs[np.concatenate([np.empty(0, bool), *parts])]
        crowded = int((np.bincount(near[:, 0] - start, minlength=1) > NEIGHBOURS).sum())
        yield np.unique(np.sort(near[near[:, 0] != near[:, 1]], 1), axis=0), Counts(cut, crowded)


def _apart(vectors: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Cosine distances (M,)."""
    one, other = (vectors[pairs[:, side]].astype(np.float32) for side in (0, 1))
    return np.asarray(1 - np.einsum("nd,nd->n", one, other))


def _same_picture(thumbnails: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(M,) bool: whether one of the two, turned as suits it best and moved a little, lies on the other."""
    first, second = (torch.from_numpy(thumbnails[pairs[:, side]]) for side in (0, 1))
    apart = torch.minimum(_left(first, second), _left(second, first))  # a crop lies on the whole, which has no margins
    return (apart <= MAX_RESIDUAL).numpy()


def _left(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """(M,) what is left between images, turned as suits them best, and others that are moved onto them."""
    turned, shown = torch.stack(orientations(images)), standardised(others.float() / 255)
    apart = torch.stack([(standardised(way.float() / 255) - shown).square().mean((1, 2, 3)) for way in turned])
    return residuals(turned[apart.argmin(0), torch.arange(len(images))], others)


def _parts(array: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (array[start : start + size] for start in range(0, len(array), size))
