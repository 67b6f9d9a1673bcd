"""Answers that a model gives to the same question about many images: beyond a number of them, they teach nothing new.

Over the whole set, by hashes: 16 bytes a pair in one Ray task, and 8 for each that is rejected on every node after it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.columns import batches
from dermray.exactly_once import BETWEEN, hashes

EQUAL = "same question and answer as of other images"
ODD = np.uint64(0x9E3779B97F4A7C15)  # times it, one number becomes another that shows nothing of the first
DIGITS = 16  # of a sample id, in hex: its first 64 bits, which are in the same order


def beyond(rows: str, most: int) -> np.ndarray:
    """Sorted (N,) uint64 names of the pairs that are ok and equal others of at least `most` images with smaller ids.

    Equal are those with the same question and answer, without regard to case and spaces around.
    """
    parts = list(_pairs(rows))
    if not parts:
        return np.empty(0, np.uint64)
    words, images = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((images, words))
    words, images = words[order], images[order]
    starts = np.flatnonzero(np.r_[True, words[1:] != words[:-1]])
    place = np.arange(len(words)) - np.repeat(starts, np.diff(np.r_[starts, len(words)]))  # among its equals
    return np.sort(_named(words, images)[place >= most])


def rejects(names: np.ndarray, row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row's pairs, those `beyond` rejected."""
    pairs: list[dict[str, Any]] = row["pairs"] or []
    if not pairs or not len(names):
        return pairs
    table = pa.array([[row["sample_id"]] * len(pairs)])
    own = _named(_words(pa.array(pairs)), _image(table.flatten()))
    places = np.minimum(np.searchsorted(names, own), len(names) - 1)
    found = names[places] == own
    return [
        pair | {"status": "rejected", "reason": EQUAL} if repeats and pair["status"] == "ok" else pair
        for pair, repeats in zip(pairs, found.tolist(), strict=True)
    ]


def _pairs(rows: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Hashes of the words of each pair that is ok, and of its image."""
    for batch in batches(rows, ["sample_id", "pairs"]):
        pairs = batch["pairs"].flatten()
        ok = pc.equal(pc.struct_field(pairs, "status"), "ok")
        images = batch["sample_id"].take(pc.list_parent_indices(batch["pairs"])).filter(ok)
        if len(images):
            yield _words(pairs.filter(ok)), _image(images)


def _words(pairs: pa.Array) -> np.ndarray:
    texts = (pc.fill_null(pc.struct_field(pairs, name), "") for name in ("question", "answer"))
    return hashes(pc.binary_join_element_wise(*(pc.utf8_lower(pc.utf8_trim_whitespace(t)) for t in texts), BETWEEN))


def _image(sample_ids: pa.Array) -> np.ndarray:
    return np.array([int(name[:DIGITS], 16) for name in sample_ids.to_pylist()], np.uint64)


def _named(words: np.ndarray, images: np.ndarray) -> np.ndarray:
    """A number for each pair of an image."""
    return words ^ (images * ODD)
