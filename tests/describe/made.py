"""Rows of several sources, as ingest leaves them: with look-alikes, copies, contradictions and broken files."""

import io
from typing import Any

import numpy as np
from PIL import Image

from dermray.manifest import Result
from dermray.records import SPLITS, sample_id
from tests.classification.made_rows import phantoms, result

SIDE = 96  # px


def picture(seed: int, quality: int = 95, side: int = SIDE) -> bytes:
    """A JPEG of smooth colours: of one seed they look alike, whatever quality and side."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BICUBIC).resize((side, side)).save(
        buffer, "JPEG", quality=quality
    )
    return buffer.getvalue()


def row(number: int, source: str = "clinic", **more: Any) -> dict[str, Any]:
    """A usable row of its own group and picture."""
    image = more.pop("image", None) or picture(number)
    return {
        "image": image, "sample_id": sample_id(image), "width": SIDE, "height": SIDE, "source": source,
        "source_id": f"{number:03}.jpg", "leak_group": f"g-{source}-{number}", "split": SPLITS[number % 3],
        "status": "ok", "origin": "real", "malignant": number % 2 == 0, "entity": "mel" if number % 2 == 0 else "nv",
        "diagnosis": "melanoma" if number % 2 == 0 else "naevus", "modality": "clinical", "licence": "CC0-1.0",
    } | more  # fmt: skip


def unusable(number: int, reason: str, image: bytes | None, status: str = "rejected", **more: Any) -> dict[str, Any]:
    """A row that ingest gave up."""
    told = row(number, **more) | {"image": image, "sample_id": None if image is None else sample_id(image)}
    return told | {"status": status, "reason": reason, "leak_group": None, "split": None, "width": None, "height": None}


def awkward() -> list[dict[str, Any]]:
    """Some of everything."""
    alike = {"leak_group": "g-alike", "split": "test"}
    lesion = {"leak_group": "g-lesion", "split": "train", "lesion_id": "clinic/L1"}
    copied = row(40, source_id="kept.jpg")
    return [
        *(row(number, patient_id=f"clinic/P{number // 2}", leak_group=f"g-P{number // 2}", split="train",
              age=30 + number, sex=("female", "male", None)[number % 3], skin_tone="ABC"[number % 3],
              skin_tone_source="metadata", fitzpatrick=1 + 2 * (number % 3), site="arm") for number in range(8)),
        row(20, **alike, image=picture(20)),
        row(21, "other", **alike, image=picture(20, quality=50), modality="dermoscopic", malignant=False, entity="nv"),
        row(30, **lesion, malignant=True),
        row(31, **lesion, malignant=False, age=float("nan"), cell_issues=["age: expected years @ t.csv line 3: '999'"]),
        copied,
        unusable(41, "exact duplicate of another file", copied["image"], source_id="copy.jpg") | {"width": SIDE},
        unusable(42, "empty file", b"", source="other"),
        unusable(43, "truncated or damaged image", picture(43)[:400]),
        unusable(44, "image file missing", None, status="failed"),
        unusable(45, "table row names no image @ t.csv line 9", None, status="failed", malignant=None, entity=None),
        row(50, "other", width=600, height=512, malignant=None, entity=None, diagnosis=None, licence=None,
            skin_tone="C", skin_tone_source="estimated", age=70.25, modification="orientation 6"),
    ]  # fmt: skip


def ingested(uri: str, rows: list[dict[str, Any]] | None = None, stage: str = "ingest") -> Result:
    """A finished result of them."""
    return result(uri, stage, awkward() if rows is None else rows)


def population(count: int) -> list[dict[str, Any]]:
    """Phantoms of two sources, attributes of some unknown."""
    rng, rows = np.random.default_rng(0), phantoms(count)
    for place, one in enumerate(rows):
        one["source"] = ("left", "right")[place % 2]
        one["lesion_id"] = f"lesion {place // 2}" if place % 3 else None
        one["age"] = None if place % 5 == 0 else float(rng.integers(0, 90)) + 0.5 * (place % 2)
        one["skin_tone"] = None if place % 7 == 0 else one["skin_tone"]
        one["width"], one["height"] = int(rng.integers(60, 700)), int(rng.integers(60, 700))
        one["malignant"] = None if place % 11 == 0 else one["malignant"]
        if place % 13 == 0:
            one.update(status="rejected", reason=f"odd @ line {place}", split=None, leak_group=None)
    return rows
