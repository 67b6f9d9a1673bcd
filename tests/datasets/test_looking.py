"""A row holds the pixels that everyone sees: the bytes as found, or a PNG where others might see something else."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dermray.datasets.decode import inspect
from dermray.datasets.looking import _examine
from dermray.records import IMAGES, conform, kind, sample_id
from tests.datasets.test_decode import ADOBE_RGB, chunk, encoded, png16, printer, tiff, ycck_jpeg

NOISE = np.random.default_rng(0).integers(0, 256, (24, 48, 4), dtype=np.uint8)
RGB, RGBA = Image.fromarray(NOISE[..., :3]), Image.fromarray(NOISE)
CMYK, GREY16 = Image.fromarray(NOISE, "CMYK"), NOISE[..., 0].astype(np.uint16) * 256 + NOISE[..., 1]
SOON = [Image.new("RGB", (48, 24), "blue")]


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "a camera"
    return exif


CHANGED = {
    "orientation 6": encoded(RGB, "JPEG", exif=turned(6)),
    "orientation 3": encoded(RGB, "PNG", exif=turned(3)),
    "orientation 8": encoded(RGB, "WEBP", lossless=True, exif=turned(8)),
    "orientation 5": encoded(RGB, "TIFF", exif=turned(5)),
    "orientation 2; icc Adobe RGB (1998) to sRGB": encoded(RGB, "JPEG", exif=turned(2), icc_profile=ADOBE_RGB),
    "16 bit to 8": png16(GREY16, 0),
    "16 bit to 8; alpha on white": png16(GREY16, 0, chunk(b"tRNS", struct.pack(">H", int(GREY16[0, 0])))),
    "alpha on white": encoded(RGBA, "PNG"),
    "alpha on white; icc Adobe RGB (1998) to sRGB": encoded(RGBA, "PNG", icc_profile=ADOBE_RGB),
    "icc Adobe RGB (1998) to sRGB": encoded(RGB, "PNG", icc_profile=ADOBE_RGB),
    "icc A press to sRGB": encoded(CMYK, "JPEG", icc_profile=printer()),
    "CMYK to RGB": encoded(CMYK, "TIFF"),
    "CMYK to RGB; icc profile for RGB ignored": encoded(CMYK, "TIFF", icc_profile=ADOBE_RGB),
    "first of several frames": encoded(RGB, "GIF", save_all=True, append_images=SOON),
}
AS_FOUND = {
    "a photograph": (encoded(RGB, "JPEG"), None),
    "an upright one with EXIF": (encoded(RGB, "JPEG", exif=turned(1)), None),
    "a BMP": (encoded(RGB, "BMP"), None),
    "a damaged profile": (encoded(RGB, "PNG", icc_profile=b"none"), "damaged icc profile ignored"),
    "a phone's second picture": (encoded(RGB, "MPO", save_all=True, append_images=SOON), "first of several frames"),
}


def require_shown(row: dict[str, Any], original: bytes) -> None:
    """A row's image is a plain PNG of what the original shows, and nothing is left in it to be changed again."""
    shown, again = inspect(original), inspect(row["image"])
    assert np.array_equal(np.asarray(again.image), np.asarray(shown.image)) and again.modification is None
    plain = Image.open(io.BytesIO(row["image"]))
    assert (plain.format, plain.mode, plain.size) == ("PNG", "RGB", shown.image.size) and not plain.getexif()
    assert not plain.info, "no profile, no text"
    assert (row["sample_id"], row["original_id"]) == (sample_id(row["image"]), sample_id(original))
    assert (row["width"], row["height"], row["status"]) == (*shown.image.size, "ok")
    twice = _examine({"image": row["image"]})
    assert (twice["image"], twice["sample_id"]) == (row["image"], row["sample_id"]), "looked at again it is itself"
    assert twice.get("original_id") is None and twice["modification"] is None


@pytest.mark.parametrize("modification", CHANGED)
def test_pixels_that_others_see_otherwise_become_a_png(modification: str) -> None:
    row = _examine({"image": CHANGED[modification]})
    assert row["modification"] == modification
    require_shown(row, CHANGED[modification])


def test_photoshops_inks_and_white_at_zero() -> None:
    for data in (ycck_jpeg(200, 100, 50), tiff(GREY16.tobytes(), 48, 24, 16, 0)):
        require_shown(_examine({"image": data}), data)


@given(
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    kind=st.sampled_from(["PNG", "TIFF", "WEBP"]),
    mode=st.sampled_from(["RGB", "RGBA"]),
    orientation=st.integers(1, 8),
    profile=st.sampled_from([None, ADOBE_RGB, b"broken"]),
    seed=st.integers(0, 99),
)
def test_any_image_is_stored_as_it_is_shown(
    size: tuple[int, int], kind: str, mode: str, orientation: int, profile: bytes | None, seed: int
) -> None:
    noise = np.random.default_rng(seed).integers(1, 256, (*size, len(mode)), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind, exif=turned(orientation), icc_profile=profile or b"", lossless=True)
    row = _examine({"image": data})
    if inspect(data).changes:
        require_shown(row, data)
    else:
        assert row["image"] == data and row.get("original_id") is None


@pytest.mark.parametrize("what", AS_FOUND)
def test_bytes_of_which_everyone_sees_the_same_stay(what: str) -> None:
    data, modification = AS_FOUND[what]
    row = _examine({"image": data})
    assert (row["image"], row["sample_id"], row["modification"]) == (data, sample_id(data), modification)
    assert row.get("original_id") is None


def test_equal_originals_stay_equal_and_equal_pixels_become_so() -> None:
    first, copy = (_examine({"image": CHANGED["orientation 6"]}) for _ in range(2))
    assert first["sample_id"] == copy["sample_id"] and first["original_id"] == copy["original_id"]
    png, tif = png16(GREY16, 0), tiff(GREY16.astype("<u2").tobytes(), 48, 24, 16, 1)
    first, other = _examine({"image": png}), _examine({"image": tif})
    assert first["sample_id"] == other["sample_id"] and first["original_id"] != other["original_id"]


def test_images_with_a_short_side_are_rejected_when_asked() -> None:
    data = encoded(RGB, "JPEG", exif=turned(6))
    row = _examine({"image": data}, 25)
    assert row["status"] == "rejected" and row["reason"] == "a side shorter than 25 px (min_side) @ 24 x 48 px"
    assert kind(row["reason"]) == "a side shorter than 25 px (min_side)", "counted as one reason"
    assert (row["width"], row["height"]) == (24, 48) and row["thumbnail"], "its copies are still told of"
    assert _examine({"image": data}, 24)["status"] == _examine({"image": data})["status"] == "ok"


def test_a_row_has_our_columns() -> None:
    rows = [_examine({"image": data, "source": "s", "source_id": name}) for name, data in CHANGED.items()]
    prints = [{name: row.pop(name) for name in ("hash", "thumbnail")} for row in rows]
    assert len(conform(rows, IMAGES)) == len(prints) == len(CHANGED)
