"""Images that show the same photograph: a perceptual hash finds candidates, a thumbnail confirms them.

Two 64-bit hashes at most 3 bits apart agree in at least one of four bands of 16 bits (Manku et al. 2007), so only those
that share a band are compared. A band that many hashes share is cut by the other 48 bits, in four parts of which
again one must agree. Equal hashes count once in this search, and every hash is looked for as it is and as it would be
of the image mirrored and turned (`turns`). Nothing is left out but what `uncompared` counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dermray.datasets.turns import AS_IT_IS, SIDE, TURNS

BITS = 64
SEEN = 32  # px a side, of whose cosines the lowest 8 by 8 are looked at
BANDS = 4
MAX_BITS = BANDS - 1  # by which two hashes may differ: then they agree in at least one band
MAX_DIFFERENCE = 6.0  # mean absolute difference of 8 x 8 RGB thumbnails, of 255
MAX_STANDARDISED = 0.2  # ... without brightness and contrast: 99% of images 20% brighter; of strangers below 0.1%
FLAT = 4.0  # added to the contrast, so that the noise of an even surface is not blown up to a picture
CROWD = 4096  # hashes in a band, which take 8 million comparisons, 10 ms: more of them are cut by further bits
AT_ONCE = 1 << 15  # candidates whose thumbnails of 192 bytes are compared at once: some 100 MB
MOST_CANDIDATES = 200_000_000  # some minutes of comparing
MOST_LINKS = 1 << 22  # that are held before they are thinned: 64 MB


@dataclass(frozen=True)
class NearDuplicates:
    """Which images belong together."""

    links: np.ndarray  # (M, 2) int64, numbers of images: enough of them to join all that are near duplicates
    uncompared: int  # candidates that were too many to look at


class _Hashes(NamedTuple):
    """Some of the hashes: the bits in which they may differ, and their places among all."""

    bits: np.ndarray  # (N,) uint64
    places: np.ndarray  # (N,)

    def take(self, which: np.ndarray | slice) -> "_Hashes":
        return _Hashes(self.bits[which], self.places[which])


def fingerprint(image: Image.Image) -> tuple[int, bytes]:
    """64-bit perceptual hash, and an 8 x 8 RGB thumbnail (192 bytes).

    The hash is pHash but for its threshold: bits say on which side of zero a cosine lies, not of their median. So the
    hash of a mirrored image is the image's own with some bits turned over.
    """
    grey = np.asarray(image.convert("L").resize((SEEN, SEEN), Image.Resampling.LANCZOS), np.float64)
    cosines = dctn(grey)[:SIDE, :SIDE].round(3)  # those that are 0 but for the machine's rounding have no sign
    value = int.from_bytes(np.packbits(cosines.ravel() > 0).tobytes(), "big")
    return value, image.resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()


def fingerprints(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """(N,) uint64 and (N, 192) uint8 of the columns `hash` and `thumbnail`, which no row lacks."""
    thumbnails = [_bytes(chunk) for chunk in rows["thumbnail"].chunks]
    flat = np.concatenate([np.empty(0, np.uint8), *thumbnails])
    return rows["hash"].to_numpy(), flat.reshape(len(rows), -1) if len(rows) else flat.reshape(0, 192)


def _bytes(chunk: pa.Array) -> np.ndarray:
    """All values of a binary array, one after the other, without a Python object for each."""
    _, offsets, data = chunk.buffers()
    ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    return np.frombuffer(data, np.uint8)[ends[0] : ends[-1]] if data else np.empty(0, np.uint8)


def near_duplicates(hashes: np.ndarray, thumbnails: np.ndarray) -> NearDuplicates:
    """Links between near duplicates, also of those that are mirrored or turned by quarters.

    Args:
        hashes: (N,) uint64. thumbnails: (N, 192) uint8.
    """
    copies, first = _same(hashes, thumbnails)
    values, group, sizes = np.unique(hashes[first], return_inverse=True, return_counts=True)
    members = first[np.argsort(group, kind="stable")]  # images by their hash
    near = _near(values)
    candidates = sizes[near[:, 0]] * sizes[near[:, 1]]
    near = near[np.argsort(candidates, kind="stable")]  # crowds last: they are what may be too much
    links, uncompared = _confirmed(near, members, np.cumsum(sizes) - sizes, sizes, thumbnails)
    return NearDuplicates(np.concatenate([copies, links]), uncompared)


def _same(hashes: np.ndarray, thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Links between images whose fingerprints are equal, and the first image of each fingerprint."""
    prints = np.concatenate([hashes[:, None].view(np.uint8).reshape(len(hashes), -1), thumbnails], axis=1)
    _, first, same = np.unique(prints.view(f"V{prints.shape[1]}")[:, 0], return_index=True, return_inverse=True)
    others = np.flatnonzero(first[same] != np.arange(len(same)))
    return np.stack([first[same[others]], others], 1), first


def _near(values: np.ndarray) -> np.ndarray:
    """(M, 3): places of two hashes and the place in TURNS of what brings the first within MAX_BITS of the second.

    Each hash as it is comes with itself, and two that are near as they are come once.

    Args:
        values: (N,) uint64, all different.
    """
    places = np.arange(len(values))
    stored, found = _Hashes(values, places), [np.stack([places, places, np.zeros_like(places)], 1)]
    for number, turn in enumerate(TURNS):
        turned = None if turn == AS_IT_IS else _Hashes(turn.hashes(values), places)
        pairs = np.concatenate([np.empty((0, 2), np.int64), *_sharing(turned, stored, BITS)])
        pairs = np.unique(np.sort(pairs, 1) if turned is None else pairs, axis=0)  # several bands may have found one
        found.append(np.insert(pairs, 2, number, 1))
    return np.concatenate(found)


def _sharing(turned: _Hashes | None, stored: _Hashes, width: int) -> Iterator[np.ndarray]:
    """Pairs (M, 2) at most MAX_BITS apart.

    Args:
        turned: looked for among the `stored`; None for these themselves, each among those after it.
        width: of the bits in which hashes may differ.
    """
    edges = np.linspace(0, width, BANDS + 1).astype(int)
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        left = width - (end - start)
        keys, there = _by_band(stored, start, width, left)
        own_keys, own = (keys, there) if turned is None else _by_band(turned, start, width, left)
        first, last = (np.searchsorted(keys, own_keys, side) for side in ("left", "right"))
        sizes = last - first
        crowded = (sizes > CROWD) & (width == BITS)  # cut once more, and not for ever: they may be alike in most bits
        for key in np.unique(own_keys[crowded]):
            crowd = there.take(slice(*np.searchsorted(keys, [key, key + np.uint64(1)])))
            yield from _sharing(None if turned is None else own.take(own_keys == key), crowd, left)
        first = np.arange(1, len(keys) + 1) if turned is None else first
        yield from _each_with_each(own, there, first, np.where(crowded, 0, last - first))


def _by_band(hashes: _Hashes, start: int, width: int, left: int) -> tuple[np.ndarray, _Hashes]:
    """The band that begins at a bit, and the hashes without it, both sorted by it."""
    turned = _rotated(hashes.bits, start, width)  # the band is in front now
    keys = turned >> np.uint64(left)
    order = np.argsort(keys, kind="stable")
    return keys[order], _Hashes(turned[order] & _mask(left), hashes.places[order])


def _rotated(values: np.ndarray, by: int, width: int) -> np.ndarray:
    """Their lowest `width` bits, rotated to the left."""
    if by == 0:
        return values
    return (values << np.uint64(by) | values >> np.uint64(width - by)) & _mask(width)


def _mask(width: int) -> np.uint64:
    return np.uint64((1 << width) - 1)


def _each_with_each(own: _Hashes, there: _Hashes, first: np.ndarray, sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs at most MAX_BITS apart, of each own hash with `sizes` of those there, from `first` on: of all at once."""
    left, step = np.flatnonzero(sizes > 0), 0
    while len(left):
        others = first[left] + step
        near = np.bitwise_count(own.bits[left] ^ there.bits[others]) <= MAX_BITS
        if near.any():
            yield np.stack([own.places[left[near]], there.places[others[near]]], 1)
        step += 1
        left = left[sizes[left] > step]


def _confirmed(
    near: np.ndarray, members: np.ndarray, starts: np.ndarray, sizes: np.ndarray, thumbnails: np.ndarray
) -> tuple[np.ndarray, int]:
    """Links between images with near hashes whose thumbnails say the same, and how many candidates were left out.

    Candidates are numbered through: each image under a pair's first hash with each under its second.
    """
    candidates = np.cumsum(sizes[near[:, 0]] * sizes[near[:, 1]])
    total = int(candidates[-1]) if len(candidates) else 0
    links, held = list[np.ndarray](), 0
    for first in range(0, min(total, MOST_CANDIDATES), AT_ONCE):
        numbers = np.arange(first, min(first + AT_ONCE, total, MOST_CANDIDATES))
        pair = np.searchsorted(candidates, numbers, side="right")
        of_first, of_second, turns = near[pair].T
        inner = numbers - np.where(pair > 0, candidates[pair - 1], 0)
        a = members[starts[of_first] + inner // sizes[of_second]]
        b = members[starts[of_second] + inner % sizes[of_second]]
        once = (of_first != of_second) | (a < b) | (turns > 0) & (a > b)  # a hash with itself has each pair twice
        for number in np.unique(turns[once]).tolist():
            found = _alike(a[once & (turns == number)], b[once & (turns == number)], number, thumbnails)
            links.append(found)
            held += len(found)
        if held > MOST_LINKS:
            links = [_thinned(np.concatenate(links))]
            held = 0
    return np.concatenate([np.empty((0, 2), np.int64), *links]), max(0, total - MOST_CANDIDATES)


def _alike(a: np.ndarray, b: np.ndarray, turn: int, thumbnails: np.ndarray) -> np.ndarray:
    """Those of the pairs that look alike, the first turned: as they are, or but for their brightness and contrast."""
    shown, others = TURNS[turn].thumbnails(thumbnails[a]), thumbnails[b]
    alike = np.abs(shown.astype(np.int16) - others).mean(1) <= MAX_DIFFERENCE
    rest = np.flatnonzero(~alike)
    apart = np.abs(_standardised(shown[rest]) - _standardised(others[rest])).mean(1)
    alike[rest] = apart <= MAX_STANDARDISED
    return np.stack([a[alike], b[alike]], 1)


def _standardised(flat: np.ndarray) -> np.ndarray:
    """(N, 192) uint8 to float32 whose channels have mean 0 and a standard deviation of about 1."""
    pixels = flat.reshape(-1, SIDE * SIDE, 3).astype(np.float32)
    centred = pixels - pixels.mean(1, keepdims=True)
    contrast = np.sqrt(np.square(centred).mean(1, keepdims=True))
    return (centred / (contrast + FLAT)).reshape(flat.shape)


def _thinned(links: np.ndarray) -> np.ndarray:
    """As few links as join the same images."""
    images, ends = np.unique(links, return_inverse=True)
    ends = ends.reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(len(images),) * 2)
    component = connected_components(graph, directed=False)[1]
    _, first = np.unique(component, return_index=True)
    leader = first[component]
    others = np.flatnonzero(leader != np.arange(len(images)))
    return np.stack([images[leader[others]], images[others]], 1)
