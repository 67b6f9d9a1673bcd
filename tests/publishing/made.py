"""Results of stages with images, written without running the stages; and what others' tools read of an export."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydantic import BaseModel

from dermray import manifest, storage
from dermray.manifest import Result, Rows
from dermray.page_index import write_options
from dermray.records import CAPTIONED, IMAGES, INSTRUCTED, SYNTHETIC, conform, sample_id

SCHEMAS = {"ingest": IMAGES, "caption": CAPTIONED, "instruct": INSTRUCTED, "generate": SYNTHETIC}
SPLITS = ("train", "train", "val", "test")
MAKER, GPS = 0x010F, 0x8825  # tags of EXIF 2.3


class Asked(BaseModel):
    """Any config."""

    seed: int = 3
    stratify: str = "malignant"
    fractions: dict[str, float] = {"train": 0.5, "val": 0.25, "test": 0.25}
    drop_classes: list[str] = []


def photograph(number: int, side: int = 8, kind: str = "JPEG", position: bool = False) -> bytes:
    """Pixels of chance, which no encoder makes smaller."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[MAKER] = "camera"
    if position:
        exif.get_ifd(GPS)[1] = "N"
    Image.fromarray(pixels).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def row(number: int, image: bytes | None = None, **more: Any) -> dict[str, Any]:
    """A usable row of HAM10000; of every four the first two are to train."""
    data = photograph(number) if image is None else image
    known = number % 3 > 0
    return {"image": data, "sample_id": sample_id(data), "width": 8, "height": 8, "source": "ham10000",
            "source_id": f"ISIC_{number:07d}", "lesion_id": f"HAM_{number:07d}", "leak_group": f"g{number}",
            "diagnosis": "mel" if number % 2 else "nv", "entity": "mel" if number % 2 else "nv",
            "malignant": number % 2 == 1, "modality": "dermoscopic", "age": 40.0 + number if known else None,
            "sex": "female" if known else None, "skin_tone": "C" if number % 4 == 3 else None,
            "skin_tone_source": "metadata" if number % 4 == 3 else None, "licence": "CC-BY-NC-4.0", "origin": "real",
            "split": SPLITS[number % 4], "status": "ok"} | more  # fmt: skip


def captioned(number: int, **more: Any) -> dict[str, Any]:
    """The same with a caption."""
    pairs = [{"question": "What is it?", "answer": f"a lesion, {number}"}] if number % 2 else None
    said = {"caption": f"a lesion | number {number}", "answer": "a lesion", "said_colours": ["red", "black"]}
    return row(number) | said | {"pairs": pairs, "captioner": "nano"} | more


def instructed(number: int, **more: Any) -> dict[str, Any]:
    """The same with pairs, of which the second was rejected."""
    pairs = [
        {"question": f"What is seen in {number}?", "answer": "a <image> of ä lesion", "kind": "general",
         "status": "ok"},
        {"question": "Whose is it?", "answer": f"SECRET {number}", "kind": "specific", "status": "rejected",
         "reason": "quotes the internal context"},
        {"question": "Which colours?", "answer": "brown\nand red", "kind": "self-instruct", "status": "ok"},
    ]  # fmt: skip
    return row(number) | {"pairs": pairs, "answer": f"whole: SECRET {number}", "captioner": "nano"} | more


def made(
    place: str, rows: list[dict[str, Any]], stage: str = "ingest", per_file: int = 100, inputs: Any = None,
    paged: bool = True, seed: int = 3,
) -> Result:  # fmt: skip
    """These rows as a stage's result at `place`; not `paged` as earlier versions wrote them."""
    schema = SCHEMAS[stage]
    with manifest.work(stage, place, Asked(seed=seed), inputs or {}) as work:
        for start in range(0, len(rows), per_file):
            sink = pa.BufferOutputStream()
            options = write_options(schema) if paged else {}
            pq.write_table(conform(rows[start : start + per_file], schema), sink, **options)
            storage.write_bytes(storage.join(work.data, "rows", f"{start:05d}.parquet"), sink.getvalue().to_pybytes())
        ok = sum(one["status"] == "ok" for one in rows)
        return work.commit(Rows(rows_in=len(rows), ok=ok, rejected=len(rows) - ok, failed=0), len(rows))


def files(directory: Path) -> dict[str, str]:
    """SHA-256 of all files below a directory, by name."""
    found = (file for file in directory.rglob("*") if file.is_file())
    return {str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}
