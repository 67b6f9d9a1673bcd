"""Images of a generate result as PNG files, with a table of what is known of each: `dermray export-images`.

    <output>/export.json        of what, and who signs: a killed export of the same goes on
    <output>/claim*             one export writes at a time
    <output>/images/<id>.png    of the rows with status ok, named by their sample_id
    <output>/metadata.csv       written last

Signing takes place here and not where images are drawn. A C2PA manifest holds random salts, so a signed row would have
another sample_id each time it is drawn; and the key would have to be on every node.
"""

import csv
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import numpy as np
import pyarrow.compute as pc

from dermray import manifest, storage
from dermray.datasets.decode import decode
from dermray.lease import hold
from dermray.manifest import Result
from dermray.progress import Progress, watched
from dermray.provenance import signing, text
from dermray.provenance.settings import ExportConfig
from dermray.provenance.signing import Signer
from dermray.publishing.begun import begun
from dermray.records import IMAGE_COLUMNS, PROVENANCE_COLUMNS

IMAGES, TABLE, NOTE, CLAIM = "images", "metadata.csv", "export.json", "claim"
# In the table stands all that is one value, but for what says nothing of an image that is ok and drawn.
LEFT_OUT = {"image", "status", "reason", "cell_issues", "leak_group", "patient_id", "lesion_id"}
LEFT_OUT |= {"modification", "original_id"}  # of photographs
COLUMNS = [name for name, _ in (*IMAGE_COLUMNS, *PROVENANCE_COLUMNS) if name not in LEFT_OUT]
TOGETHER = 64  # rows held at once
Row = dict[str, Any]


@dataclass(frozen=True)
class Exported:
    """What lies where now."""

    table: str  # its URI
    images: int
    signed_by: str | None  # the algorithm

    def __str__(self) -> str:
        """For the command line."""
        signed = f"signed by {self.signed_by}" if self.signed_by else "with text and without a signature"
        return f"{self.table}: {self.images} images, {signed}"


def export(config: ExportConfig) -> Exported:
    """Write the files; an export that was cut short goes on with what is missing.

    Raises:
        ConfigError: `output` holds something else. FileNotFoundError, ValueError: no generate result, or as
            `signing.opened` says. RuntimeError: images are missing. OutputTaken: another export is at
            work there.
    """
    result = manifest.read(config.images, "generate")
    signer = signing.opened(config.provenance) if config.provenance else None
    output, total = storage.normalise(config.output), result.manifest.rows.ok
    work = {"images": result.manifest.key, "certificate": signer.fingerprint if signer else None}
    goes_on = begun(output, storage.join(output, NOTE), work, "of other images or by another signer")
    done = Exported(storage.join(output, TABLE), total, signer.algorithm if signer else None)
    if storage.exists(done.table):
        return done
    # Signatures vary: of two exports at once the table of one would hold hashes of files that the other replaced.
    with hold(storage.join(output, CLAIM)):
        if not storage.exists(done.table):
            storage.delete_files(storage.list_files(storage.join(output, IMAGES), ".partial"))  # of one that was killed
            with tempfile.TemporaryFile("w+", newline="", encoding="utf-8") as lines:
                _written(result, lines, partial(_placed, output=output, signer=signer, goes_on=goes_on), config.threads)
                _publish(lines, done.table)
    return done


def _written(result: Result, lines: IO[str], placed: Any, threads: int) -> None:
    """Every image of a result to its place, and a line for each."""
    table = csv.DictWriter(lines, ["file", "file_sha256", *COLUMNS])
    table.writeheader()
    total, done = result.manifest.rows.ok, 0
    with ThreadPoolExecutor(threads) as pool, watched(lambda: Progress(done, total, "images written")):
        for rows in _usable(result):
            table.writerows(pool.map(placed, rows))
            done += len(rows)
    if done != total:
        raise RuntimeError(f"{result.uri}: {done} images there, and its manifest says {total}; make it again")


def _usable(result: Result) -> Iterator[list[Row]]:
    """Rows with status ok, few at a time."""
    for file in result.row_files().files():
        with storage.open_parquet(file) as parquet:
            columns = [name for name in ("image", "status", *COLUMNS) if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(TOGETHER, columns=columns, use_threads=False):
                yield batch.filter(pc.equal(batch["status"], "ok")).to_pylist()


def _placed(row: Row, output: str, signer: Signer | None, goes_on: bool) -> Row:
    """A row's image in its place, and its line of the table."""
    name = f"{IMAGES}/{row['sample_id']}.png"
    place = storage.join(output, name)
    if goes_on and storage.exists(place):
        data = storage.read_bytes(place)
    else:
        data = _file(row, signer)
        storage.write_bytes(place, data)
    line = {column: row.get(column) for column in COLUMNS}
    return {"file": name, "file_sha256": hashlib.sha256(data).hexdigest(), **line}


def _file(row: Row, signer: Signer | None) -> bytes:
    """A row's PNG with its text, which rows of earlier versions lack, signed where somebody signs."""
    png: bytes = row["image"]
    said = text.read(png)
    if not said:
        said = text.said(
            family=row["family"], generator=row["generator"], licence=row["licence"], prompt=row["prompt"],
            seed=row["seed"], guidance_scale=row["guidance_scale"], steps=row["sampling_steps"],
        )  # fmt: skip
        png = text.png(np.asarray(decode(png)), said)
    return signer.sign(png, said) if signer else png


def _publish(lines: IO[str], table: str) -> None:
    """The table, whole: a reader finds it when all images are there."""
    lines.flush()
    lines.seek(0)
    system, path = storage.filesystem(table)
    place = path if storage.is_s3(table) else f"{path}.partial"
    with system.open_output_stream(place) as stream:
        shutil.copyfileobj(lines.buffer, stream)  # type: ignore[attr-defined]  # a text file's bytes
    if place != path:
        system.move(place, path)
