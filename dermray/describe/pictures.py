"""Small pictures of the rows on a page, and what tells whether two of them look alike."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dermray import pages
from dermray.datasets.decode import BadImage, inspect
from dermray.datasets.near_duplicates import BITS, MAX_BITS, MAX_DIFFERENCE, fingerprint
from dermray.picked import FILE, images

SIDE = 144  # px: hundreds of pictures lie in one page, some 5 kB each
QUALITY = 82  # of their JPEG
Row = dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """An image on a page."""

    url: str  # holds it
    hash: int
    thumbnail: bytes


@dataclass(frozen=True)
class Alike:
    """How much two pictures differ."""

    bits: int  # of the perceptual hash's 64
    difference: float  # mean of their 8 x 8 thumbnails, of 255

    @property
    def near(self) -> bool:
        """Whether ingest calls them near duplicates."""
        return self.bits <= MAX_BITS and self.difference <= MAX_DIFFERENCE

    def __str__(self) -> str:
        if not self.bits and not self.difference:
            return "their fingerprints are equal"
        return f"{self.bits} of {BITS} bits of the hash differ, thumbnails by {self.difference:.1f} of 255"


def alike(one: Picture, other: Picture) -> Alike:
    """By the fingerprints that ingest compares."""
    first, second = (np.frombuffer(each.thumbnail, np.uint8).astype(int) for each in (one, other))
    return Alike((one.hash ^ other.hash).bit_count(), float(np.abs(first - second).mean()))


def pictures(rows: Iterable[Row]) -> dict[str, Picture | str]:
    """By sample id, or why there is none. Of rows that never had bytes nothing is said.

    Args:
        rows: with sample_id and FILE, as `picked.images` takes them.
    """
    places = {row["sample_id"]: row[FILE] for row in rows if row["sample_id"] is not None}
    table = pa.table({"sample_id": pa.array(list(places), pa.string()), FILE: pa.array(places.values(), pa.string())})
    names = list(places)
    return {names[place]: _picture(data) for place, data in images(table)}


def _picture(data: bytes) -> Picture | str:
    try:
        image = inspect(data).image
    except BadImage as error:
        return str(error)
    value, thumbnail = fingerprint(image)
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return Picture(pages.data_url(buffer.getvalue()), value, thumbnail)
