"""Every image of the sources looked at once: bytes fetched, decoded, measured, fingerprinted; or the reason why not.

The rows go to Parquet, block by block: see `blocks`. An ingest that was killed goes on after those that are there.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dermray import nodes, storage
from dermray.archives.members import UnreadableMember
from dermray.columns import batches_of
from dermray.counters import count_rows
from dermray.datasets.blocks import Block, all_blocks, digest, remove_others, rows_in, write_block
from dermray.datasets.decode import inspect, png
from dermray.datasets.decoded import BadImage, Decoded, NoDecoder
from dermray.datasets.dicom import is_dicom
from dermray.datasets.near_duplicates import fingerprint
from dermray.datasets.sources import Reading
from dermray.records import AT, IMAGES, conform, sample_id
from dermray.skin_tone.filling import AS_TOLD, Filling

RAW = pa.schema([*IMAGES, ("hash", pa.uint64()), ("thumbnail", pa.binary())])

GONE = "image file missing"
# of the Parquet files, which are read once or twice: encoded images do not get smaller
OPTIONS = {"compression": "none", "use_dictionary": False, "write_statistics": ["status"]}
FETCHES = 32  # images of a block fetched at a time: S3 answers after tens of milliseconds, a core decodes in fewer
BYTES_PER_PART = 64 << 20  # of images, after which a task hands on its rows


def look_at_all(
    readings: list[Reading], raw: str, min_side: int | None = None, tones: Filling = AS_TOLD
) -> tuple[list[Block], int]:
    """Every source's rows, bytes fetched and decoded once, skin tones filled in, to Parquet; how many blocks there were
    of other inputs, or made by another version, which are removed.

    Args:
        min_side: px; images with a shorter side are rejected.
    """
    made = list[Block]()
    for number, reading in enumerate(readings):
        version = digest(number, reading.facts, reading.version, nodes.code())
        made += all_blocks(reading.places, _Looking(reading, raw, f"{number:03}", version, min_side, tones))
    return made, remove_others(raw, made)


@dataclass(frozen=True)
class _Looking:
    """Places of a source to blocks of rows."""

    reading: Reading
    raw: str
    source: str
    version: str
    min_side: int | None
    tones: Filling

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"reading": self.reading._replace(places=None)}

    def __call__(self, places: pa.Table) -> Iterator[pa.Table]:
        for start in range(0, len(places), self.reading.together):
            some = places.slice(start, self.reading.together)
            name = f"{self.source}-{digest(self.version, some.to_pylist())}"
            yield pa.table({"name": [name], "rows": [self._block(storage.join(self.raw, f"{name}.parquet"), some)]})

    def _block(self, file: str, places: pa.Table) -> int:
        number = rows_in(file)
        if number is None or self._has_come(file, places):
            tables = self.reading.rows(places)
            looked_at = chain.from_iterable(_look_at(table, self.min_side, self.tones) for table in tables)
            number = write_block(file, looked_at, RAW, **OPTIONS)
        return number

    def _has_come(self, file: str, places: pa.Table) -> bool:
        """Whether an image is there by now that was missing when the block was made."""
        told = pa.Table.from_batches(batches_of([file], ["source_id", "reason"], pc.field("reason") == GONE))
        if not len(told):
            return False
        gone = set(told["source_id"].to_pylist())
        rows = chain.from_iterable(table.to_pylist() for table in self.reading.rows(places))
        return any(row["source_id"] in gone and storage.exists(row["uri"]) for row in rows if row.get("uri"))


def _look_at(table: pa.Table, min_side: int | None = None, tones: Filling = AS_TOLD) -> Iterator[pa.Table]:
    """The rows with what their images show, in parts. Held are one part and the images that are being fetched."""
    rows, part, size = iter(table.to_pylist()), list[dict[str, Any]](), 0
    with ThreadPoolExecutor(FETCHES) as pool:
        fetched = deque(pool.submit(_fetch, row) for row in islice(rows, FETCHES))
        while fetched:
            row = fetched.popleft().result()
            fetched.extend(pool.submit(_fetch, next_row) for next_row in islice(rows, 1))
            part.append(_unseen(row) if row.get("status") else _examine(row, min_side, tones))
            size += len(part[-1].get("image") or b"")
            if size >= BYTES_PER_PART or not fetched:
                yield _checked(part)
                part, size = [], 0


def _checked(rows: list[dict[str, Any]]) -> pa.Table:
    prints = [(row.pop("hash"), row.pop("thumbnail")) for row in rows]
    checked = conform(rows, IMAGES)
    checked = checked.append_column("hash", pa.array([h for h, _ in prints], pa.uint64()))
    count_rows("ingest", checked)
    return checked.append_column("thumbnail", pa.array([t for _, t in prints], pa.binary()))


def _fetch(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its image's bytes, where it has an image and these can be had at once."""
    if row.get("status") or row.get("image") is not None:
        return row
    try:
        return row | {"image": storage.read_bytes(row["uri"])}
    except (OSError, ValueError):  # `_examine` asks once more, and says why not
        return row


def _unseen(row: dict[str, Any]) -> dict[str, Any]:
    """A row that its source gave up: its image is not fetched."""
    row.pop("uri", None)
    return row | {"origin": "real", "hash": None, "thumbnail": None}


def _examine(row: dict[str, Any], min_side: int | None = None, tones: Filling = AS_TOLD) -> dict[str, Any]:
    """One row with its image as all will see it, id, size and fingerprint; or with a reason why not."""
    uri = row.pop("uri", None)
    row |= {"origin": "real", "status": "ok", "reason": None, "hash": None, "thumbnail": None}
    try:
        data = row["image"] if row.get("image") is not None else storage.read_bytes(uri)
    except FileNotFoundError:
        return row | {"status": "failed", "reason": GONE}
    except UnreadableMember as error:
        return row | {"status": "failed", "reason": f"image file unreadable: {error}"}
    except (OSError, pa.ArrowInvalid) as error:  # the latter for names that no S3 path may have
        if storage.has_scheme(uri) and isinstance(error, OSError) and not isinstance(error, PermissionError):
            # not this image's fault, and the next one would meet it too
            store = uri.partition("://")[0].upper()
            raise OSError(
                f"{uri}: {store} does not give this image, however often it is asked; start again when it does "
                f"({error})"
            ) from None
        return row | {"status": "failed", "reason": f"image file unreadable: {type(error).__name__}"}
    try:
        decoded = inspect(data)
    except BadImage as error:
        status = "failed" if isinstance(error, NoDecoder) else "rejected"
        return row | _as_found(data) | {"status": status, "reason": str(error)}
    row |= _as_shown(data, decoded)
    value, thumbnail = fingerprint(decoded.image)
    width, height = decoded.image.size
    row |= {"width": width, "height": height, "modification": decoded.modification}
    if min_side is not None and min(width, height) < min_side:
        reason = f"a side shorter than {min_side} px (min_side){AT}{width} x {height} px"
        row |= {"status": "rejected", "reason": reason}
    else:
        row |= tones(row, decoded.image)
    return row | {"hash": value, "thumbnail": thumbnail}


def _as_found(data: bytes) -> dict[str, Any]:
    """The bytes of no usable image. Those of a DICOM file go into no row: they may name the patient."""
    if is_dicom(data):
        return {"image": None, "sample_id": None, "original_id": sample_id(data)}
    return {"image": data, "sample_id": sample_id(data)}


def _as_shown(data: bytes, decoded: Decoded) -> dict[str, Any]:
    """The bytes where everyone sees the same in them, else a PNG of what we see, and the name of the original."""
    if not decoded.changes:
        return {"image": data, "sample_id": sample_id(data)}
    image = png(decoded.image)
    return {"image": image, "sample_id": sample_id(image), "original_id": sample_id(data)}
