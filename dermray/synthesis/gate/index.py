"""The training images as the gate needs them, in files that are mapped into memory: a node holds them once.

index.json            what they were made of; written last
pixels.faiss          low-dimensional codes of thumbnails, searched: 2 i is that of image i, 2 i + 1 of its middle
embeddings.faiss      ... of embeddings
projections.npz       how these codes are made
thumbnails.npy        (N, 3, 16, 16) uint8, of which the few found are compared exactly
embeddings.npy        (N, D) float16 unit vectors, likewise
ids.npy               (N,) sample ids, bytes
network.safetensors   the embedding's network, where the run trained it
"""

from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from dermray import node_cache, storage
from dermray.synthesis.gate.projection import Projection
from dermray.synthesis.gate.registration import residuals
from dermray.synthesis.gate.thumbnails import described, orientations, thumbnails

VERSION = 1  # of these files and of what is computed from them
ABOUT = "index.json"
NEIGHBOURS = 16  # found by their codes and compared exactly: a copy stands out from the others even if half are kin
FLAT_UP_TO = 100_000  # images; up to there all codes are compared, beyond those of the nearest clusters
CLUSTERS_SEARCHED = 32
ANYTHING = 2**0.5  # between standardised images or unit vectors that have nothing in common


class About(BaseModel):
    """What an index was made of."""

    version: int
    generator: str  # manifest key of the one that it was made for
    training_images: str | None = None  # hash, by which another generator is known to have learned from the same
    images: int
    extractor: dict[str, Any]  # its config
    extractor_name: str
    extractor_hash: str  # of the weights that made the embeddings


class Found(NamedTuple):
    """The nearest training image by one look."""

    distance: float  # as a share of the median distance to the other neighbours found
    sample_id: str


def clustered(images: int) -> int:
    """Into how many clusters so many codes are put; 0: they are all compared."""
    return 0 if images <= FLAT_UP_TO else int(4 * images**0.5)


def empty_index(images: int, sample: np.ndarray) -> Any:
    """Of faiss, ready for so many codes like the (n, d) of a sample."""
    clusters, width = clustered(images), sample.shape[1]
    if not clusters:
        return faiss.IndexFlatL2(width)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, clusters)
    index.cp.seed, index.cp.niter, index.nprobe = 0, 10, CLUSTERS_SEARCHED
    index.cp.min_points_per_centroid = 1
    index.train(sample)
    return index


class Index:
    """An index opened from a directory, local or in S3.

    Raises:
        FileNotFoundError: there is none. ValueError: another version of dermray made it.
    """

    def __init__(self, uri: str) -> None:
        self.about = read_about(uri)
        self.directory = Path(node_cache.local_copy(uri))
        self._pixels, self._embeddings = (
            _mapped(self.directory / f"{name}.faiss") for name in ("pixels", "embeddings")
        )
        arrays = (
            np.load(self.directory / f"{name}.npy", mmap_mode="r") for name in ("thumbnails", "embeddings", "ids")
        )
        self._thumbnails, self._vectors, self._ids = arrays
        with np.load(self.directory / "projections.npz") as saved:
            self._of_pixels = Projection(saved["pixel_mean"], saved["pixel_basis"])
            self._of_embeddings = Projection(saved["embedding_mean"], saved["embedding_basis"])

    def __len__(self) -> int:
        return len(self._ids)

    def by_pixels(self, image: Tensor) -> Found:
        """The nearest to (3, S, S) uint8 in any of the eight orientations, after alignment."""
        turned = torch.stack(orientations(thumbnails(image[None])[0]))
        distances, codes = self._pixels.search(
            self._of_pixels(described(turned)), min(2 * NEIGHBOURS, self._pixels.ntotal)
        )
        nearest: dict[int, tuple[float, int]] = {}  # image -> (distance, orientation)
        for orientation, found in enumerate(zip(distances.tolist(), (codes // 2).tolist(), strict=True)):
            for distance, number in zip(*found, strict=True):
                nearest[number] = min(nearest.get(number, (np.inf, 0)), (distance, orientation))
        nearest.pop(-1, None)  # faiss found fewer codes and says -1
        chosen = sorted(nearest, key=lambda number: (nearest[number], number))[:NEIGHBOURS]
        others = torch.from_numpy(np.stack([self._thumbnails[number] for number in chosen]))
        return self._nearest(residuals(turned[[nearest[number][1] for number in chosen]], others).numpy(), chosen)

    def by_embedding(self, vector: np.ndarray) -> Found:
        """The nearest to a unit vector (D,)."""
        _, numbers = self._embeddings.search(self._of_embeddings(vector[None]), min(NEIGHBOURS, len(self)))
        chosen = [number for number in numbers[0].tolist() if number >= 0]
        others = np.stack([self._vectors[number] for number in chosen]).astype(np.float32)
        return self._nearest(np.linalg.norm(others - vector, axis=1), chosen)

    def sample_ids(self, numbers: np.ndarray) -> list[str]:
        """Of these images."""
        return [bytes(self._ids[number]).decode() for number in numbers]

    def _nearest(self, distances: np.ndarray, chosen: list[int]) -> Found:
        """A distance says nothing by itself: even photographs of bare skin are all near one another. What counts is
        how far the nearest stands out from the others (Carlini et al., "Extracting training data from diffusion
        models", 2023, section 4.2)."""
        first = int(np.argmin(distances))
        others = np.delete(distances, first)
        usual = float(np.median(others)) if len(others) else ANYTHING
        [name] = self.sample_ids(np.array([chosen[first]]))
        return Found(float(distances[first]) / max(usual, 1e-6), name)


def _mapped(file: Path) -> Any:
    """An index of faiss whose codes stay in the file."""
    return faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)


def read_about(uri: str) -> About:
    """What an index was made of; raises as `Index` does."""
    file = storage.join(uri, ABOUT)
    if not storage.exists(file):
        raise FileNotFoundError(f"{uri}: no index of training images there; run the generate stage again")
    about = About.model_validate_json(storage.read_bytes(file))
    if about.version != VERSION:
        raise ValueError(
            f"{uri}: an index of version {about.version}, and this dermray reads version {VERSION}; run the generate "
            "stage again, with another output"
        )
    return about
