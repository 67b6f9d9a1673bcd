import contextlib
import io
import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageCms

import dermray
from dermray.datasets.decode import BadImage, decode, inspect, portable, square
from dermray.datasets.phantom import encode_png

COLOUR = (200, 100, 50)


def png(width: int = 40, height: int = 30) -> bytes:
    return encode_png(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def raw_png(width: int, height: int, bits: int, colour_type: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG by the letter of its specification: what Pillow cannot write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body


def huge_png(width: int, height: int) -> bytes:
    """A few bytes whose header claims width x height pixels."""
    return raw_png(width, height, 8, 2, b"\0" * 100)


def png16(values: np.ndarray, colour_type: int, *extra: bytes) -> bytes:
    """(H, W) or (H, W, C) uint16 as PNG of 16 bits."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return raw_png(width, height, 16, colour_type, rows, *extra)


def tiff(
    values: bytes, width: int, height: int, bits: int, photometric: int, signed: bool = False, order: str = "<"
) -> bytes:
    """An uncompressed grey TIFF 6.0 of one strip."""
    start = 8 + 2 + 10 * 12 + 4
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, start), (277, 1),
            (278, height), (279, len(values)), (339, 2 if signed else 1)]  # fmt: skip
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return head + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0) + values


def xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(space: bytes, name: bytes, parts: dict[bytes, bytes], meeting: bytes = b"XYZ ") -> bytes:
    """An ICC profile (version 2.1) with tags of its own."""
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + b"\0" + b"\0" * 78
    white = xyz((0.9642, 1.0, 0.8249))
    parts = {b"desc": text, b"cprt": b"text\0\0\0\0CC0\0", b"wtpt": white} | parts
    position, table, body = 128 + 4 + 12 * len(parts), b"", b""
    for tag, data in parts.items():
        table += tag + struct.pack(">II", position + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(">I4sI4s4s4s", position + len(body), b"lcms", 0x02100000, kind, space, meeting)
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + white[8:]
    return head + b"\0" * (128 - len(head)) + struct.pack(">I", len(parts)) + table + body


def gamma_curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def printer() -> bytes:
    """A press whose three colours each take a quarter of the paper's lightness, and black all (ICC, lut8Type)."""
    plain = bytes(range(256))
    inks = itertools.product((0, 1), repeat=4)
    lightness = [0.0 if k else 100 - 25 * (c + m + y) for c, m, y, k in inks]
    corners = b"".join(bytes([round(value * 2.55), 128, 128]) for value in lightness)
    unit = b"".join(struct.pack(">i", 65536 * (i % 4 == 0)) for i in range(9))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + unit + plain * 4 + corners + plain * 3
    return profile(b"CMYK", b"A press", {b"A2B0": lut, b"A2B1": lut}, b"Lab ")


# Adobe RGB (1998), 4.3.1, and IEC 61966-2.1 (sRGB): primaries adapted to D50.
ADOBE_PRIMARIES = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB_PRIMARIES = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
ADOBE_RGB = profile(
    b"RGB ",
    b"Adobe RGB (1998)",
    dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(xyz, ADOBE_PRIMARIES), strict=True))
    | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma_curve(563 / 256)),
)


def srgb_curve(linear: np.ndarray) -> np.ndarray:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255


def adobe_to_srgb(colour: tuple[int, int, int]) -> np.ndarray:
    """By the formulas of both specifications."""
    light = np.array(ADOBE_PRIMARIES).T @ (np.array(colour) / 255) ** (563 / 256)
    return srgb_curve(np.linalg.solve(np.array(SRGB_PRIMARIES).T, light).clip(0, 1))


def pixel(data: bytes) -> tuple[int, ...]:
    return tuple(np.asarray(decode(data))[0, 0].tolist())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"just text", "not an image: expected JPEG, PNG, WebP, TIFF, BMP or GIF"),
        (png()[:200], "truncated or damaged"),
        (huge_png(40_000, 25_000), "more than 64000000 pixels"),
        (huge_png(9_000, 9_000), "9000 x 9000 px"),
        (b"GIF89a" + b"\0" * 50, "truncated or damaged|not an image"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "a HEIC image: expected JPEG, PNG"),
        (encoded(Image.new("F", (4, 4)), "TIFF"), "pixels of mode F"),
        (encoded(Image.new("I", (4, 4)), "TIFF"), "pixels of mode I"),
        (tiff(struct.pack("<hh", -5, 1000), 2, 1, 16, 1, signed=True), "pixels of mode I"),
        (encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 0)), "PNG"), "every pixel is transparent"),
    ],
)
def test_bad_bytes_have_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decode(data)


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3))))
def test_lossless_formats_give_back_every_pixel(pixels: np.ndarray) -> None:
    image = Image.fromarray(pixels)
    options: list[tuple[str, dict[str, Any]]] = [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("BMP", {}),
    ]
    for kind, chosen in options:
        found = inspect(encoded(image, kind, **chosen))
        assert np.array_equal(np.asarray(found.image), pixels) and found.modification is None


@pytest.mark.parametrize(
    ("data", "expected", "modification"),
    [
        (encoded(Image.new("L", (8, 8), 77), "PNG"), (77, 77, 77), None),
        (encoded(Image.new("1", (8, 8), 1), "PNG"), (255, 255, 255), None),
        (encoded(Image.new("1", (8, 8), 1), "TIFF"), (255, 255, 255), None),
        (encoded(Image.new("RGB", (8, 8), COLOUR), "GIF"), COLOUR, None),
        (encoded(Image.new("RGB", (8, 8), COLOUR).quantize(4), "PNG"), COLOUR, None),
        # half of the colour and half of white
        (encoded(Image.new("RGBA", (8, 8), (*COLOUR, 128)), "PNG"), (227, 177, 152), "alpha on white"),
        (encoded(Image.new("RGBA", (8, 8), (*COLOUR, 128)), "WEBP", lossless=True), (227, 177, 152), "alpha on white"),
        (encoded(Image.new("RGBA", (8, 8), (*COLOUR, 128)), "TIFF"), (227, 177, 152), "alpha on white"),
        (encoded(Image.new("RGBA", (8, 8), (*COLOUR, 255)), "PNG"), COLOUR, None),
        (encoded(Image.new("LA", (8, 8), (0, 51)), "PNG"), (204, 204, 204), "alpha on white"),
        (encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), (255, 0, 0), "CMYK to RGB"),
        (encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), (255, 0, 0), "CMYK to RGB"),
    ],
)
def test_every_mode_becomes_the_colour_it_means(
    data: bytes, expected: tuple[int, int, int], modification: str | None
) -> None:
    assert np.abs(np.array(pixel(data)) - expected).max() <= 1
    assert inspect(data).image.mode == "RGB" and inspect(data).modification == modification


def test_transparent_entries_of_a_palette_and_a_transparent_colour_are_white() -> None:
    indices = np.array([[0, 1], [1, 0]], np.uint8)
    palette = Image.fromarray(indices).convert("P")
    palette.putpalette([10, 20, 30, *COLOUR])
    expected = np.where(indices[..., None] == 0, 255, np.array(COLOUR))
    found = inspect(encoded(palette, "PNG", transparency=bytes([0, 255])))
    assert np.array_equal(np.asarray(found.image), expected) and found.modification == "alpha on white"
    plain = Image.fromarray(np.where(indices[..., None] == 0, (1, 2, 3), COLOUR).astype(np.uint8))
    assert np.array_equal(np.asarray(decode(encoded(plain, "PNG", transparency=(1, 2, 3)))), expected)


def ycck_jpeg(red: int, green: int, blue: int) -> bytes:
    """A file as Photoshop writes it: Y, Cb, Cr of the three inks, and inverted black (libjpeg, ycck_cmyk_convert)."""
    inks = Image.new("RGB", (16, 16), (255 - red, 255 - green, 255 - blue))
    y, cb, cr = inks.convert("YCbCr").getpixel((0, 0))  # type: ignore[misc]
    stored = Image.new("CMYK", (16, 16), (255 - y, 255 - cb, 255 - cr, 0))  # Pillow inverts what it writes
    data = encoded(stored, "JPEG", quality=100)
    marker = data.index(b"Adobe")
    assert data[marker + 11] == 0, "Pillow writes plain CMYK"
    return data[: marker + 11] + b"\2" + data[marker + 12 :]


def test_ycck_as_photoshop_writes_it() -> None:
    for colour in ((255, 0, 0), (0, 128, 255), COLOUR):
        assert np.abs(np.array(pixel(ycck_jpeg(*colour))) - colour).max() <= 3


def test_a_grey_ramp_of_16_bits_keeps_its_mean() -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    little, big = ramp.astype("<u2").tobytes(), ramp.astype(">u2").tobytes()
    rising = [png16(ramp, 0), tiff(little, 256, 256, 16, 1), tiff(big, 256, 256, 16, 1, order=">")]
    for data in rising:
        found = inspect(data)
        assert abs(np.asarray(found.image).mean() - 127.5) <= 0.5 and found.modification == "16 bit to 8"
        assert pixel(data) == (0, 0, 0) and np.asarray(found.image)[-1, -1].tolist() == [255] * 3
    assert pixel(tiff(little, 256, 256, 16, 0)) == (255, 255, 255), "where 0 is white"
    twelve = inspect(tiff(bytes([0xFF, 0xF8, 0x00, 0x00, 0x0F, 0xFF]), 4, 1, 12, 1))
    assert np.asarray(twelve.image)[0, :, 0].tolist() == [255, 128, 0, 255] and twelve.modification == "16 bit to 8"


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "LA"])
def test_8_bit_values_in_16_bit_files_come_back_exactly(kind: str) -> None:
    ramp = np.stack([np.arange(256), np.arange(255, -1, -1), np.full(256, 7)], axis=-1)[None].astype(np.uint16) * 257
    if kind == "LA":
        values, expected = np.stack([ramp[..., 0], np.full_like(ramp[..., 0], 65535)], -1), ramp[..., [0, 0, 0]]
    else:
        values = ramp if kind == "RGB" else np.concatenate([ramp, np.full_like(ramp[..., :1], 65535)], -1)
        expected = ramp
    found = inspect(png16(values, {"RGB": 2, "LA": 4, "RGBA": 6}[kind]))
    assert np.array_equal(np.asarray(found.image), expected // 257) and found.modification == "16 bit to 8"


def test_transparent_values_of_16_bits() -> None:
    grey = np.array([[5, 300, 65535]], np.uint16)
    found = inspect(png16(grey, 0, chunk(b"tRNS", struct.pack(">H", 300))))
    assert np.asarray(found.image)[0, :, 0].tolist() == [0, 255, 255]
    assert found.modification == "16 bit to 8; alpha on white"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    """The camera stored `shown` turned away by the inverse of what EXIF 2.3 says of the value."""
    shown = np.zeros((64, 32, 3), np.uint8)
    shown[:32, :16], shown[:32, 16:], shown[32:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = {
        1: shown, 2: shown[:, ::-1], 3: shown[::-1, ::-1], 4: shown[::-1], 5: shown.swapaxes(0, 1),
        6: np.rot90(shown), 7: shown[::-1, ::-1].swapaxes(0, 1), 8: np.rot90(shown, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = inspect(encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, quality=95))
    assert found.image.size == (32, 64)
    assert found.modification == (None if orientation == 1 else f"orientation {orientation}")
    assert np.abs(np.asarray(found.image)[8::16, 8::16].astype(int) - shown[8::16, 8::16]).max() <= 16
    again = portable(encoded(found.image, "PNG"), 1024)
    assert np.array_equal(np.asarray(decode(again)), np.asarray(found.image)), "and never again"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_adobe_rgb_becomes_srgb_by_both_specifications(kind: str) -> None:
    for colour in ((128, 128, 128), (180, 120, 90), (60, 140, 100)):
        options = {"lossless": True} if kind == "WEBP" else {"quality": 100}
        data = encoded(Image.new("RGB", (16, 16), colour), kind, icc_profile=ADOBE_RGB, **options)
        assert np.abs(np.array(pixel(data)) - adobe_to_srgb(colour)).max() <= 2.5
        assert inspect(data).modification == "icc Adobe RGB (1998) to sRGB"
    assert np.abs(adobe_to_srgb((60, 140, 100)) - (60, 140, 100)).max() > 15, "a profile that matters"


def test_grey_profiles() -> None:
    expected = srgb_curve(np.array([(100 / 255) ** 1.8]))[0]
    grey = profile(b"GRAY", b"Gamma 1.8", {b"kTRC": gamma_curve(1.8)})
    for image in (Image.new("L", (8, 8), 100), Image.new("LA", (8, 8), (100, 255))):
        found = inspect(encoded(image, "PNG", icc_profile=grey))
        assert abs(np.asarray(found.image)[0, 0] - expected).max() <= 1 < abs(expected - 100)
        assert found.modification == "icc Gamma 1.8 to sRGB"


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_are_read_by_their_press(kind: str) -> None:
    for inks, lightness in (((0, 0, 0, 0), 100), ((255, 255, 255, 0), 25), ((0, 255, 0, 0), 75), ((0, 0, 0, 255), 0)):
        data = encoded(Image.new("CMYK", (16, 16), inks), kind, icc_profile=printer(), quality=100)
        light = ((lightness + 16) / 116) ** 3 if lightness > 8 else lightness / 903.3  # CIE 1976
        assert np.abs(np.array(pixel(data)) - srgb_curve(np.array(light))).max() <= 2
        assert inspect(data).modification == "icc A press to sRGB"


def test_alpha_is_no_colour_of_a_profile() -> None:
    data = encoded(Image.new("RGBA", (8, 8), (180, 120, 90, 128)), "PNG", icc_profile=ADOBE_RGB)
    expected = 255 - (255 - adobe_to_srgb((180, 120, 90))) * 128 / 255
    assert np.abs(np.array(pixel(data)) - expected).max() <= 2.5
    assert inspect(data).modification == "alpha on white; icc Adobe RGB (1998) to sRGB"


def test_profiles_that_say_srgb_change_nothing_and_damaged_ones_are_noted() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image, grey = Image.new("RGB", (8, 8), COLOUR), Image.new("L", (8, 8), 90)
    assert inspect(encoded(image, "PNG", icc_profile=srgb)).modification is None
    assert inspect(encoded(grey, "PNG", icc_profile=srgb)).modification is None
    for broken in (srgb[:200], b"no profile"):
        data = encoded(image, "PNG", icc_profile=broken)
        assert pixel(data) == COLOUR and inspect(data).modification == "damaged icc profile ignored"
    cmyk = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF", icc_profile=ADOBE_RGB)
    assert inspect(cmyk).modification == "CMYK to RGB; icc profile for RGB ignored"


@pytest.mark.parametrize(("kind", "frames"), [("TIFF", 3), ("MPO", 2), ("GIF", 2), ("WEBP", 2), ("PNG", 2)])
def test_the_first_of_several_frames(kind: str, frames: int) -> None:
    others = [Image.new("RGB", (8, 8), (0, 0, 200 + i)) for i in range(1, frames)]
    found = inspect(encoded(Image.new("RGB", (8, 8), COLOUR), kind, save_all=True, append_images=others))
    assert np.abs(np.asarray(found.image)[0, 0].astype(int) - COLOUR).max() <= 3
    assert found.modification == "first of several frames"


def test_others_are_sent_the_pixels_that_we_see() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 48, 3), dtype=np.uint8))
    plain, turned, old = encoded(image, "JPEG"), encoded(image, "JPEG", exif=exif), encoded(image, "BMP")
    assert portable(plain, 64) == plain, "every reader shows the same"
    for data in (turned, old, encoded(image, "PNG", icc_profile=ADOBE_RGB)):
        sent = Image.open(io.BytesIO(portable(data, 64)))
        assert sent.format == "PNG" and np.array_equal(np.asarray(sent), np.asarray(decode(data)))
        assert not sent.info.get("icc_profile") and not sent.getexif()
    assert Image.open(io.BytesIO(portable(turned, 24))).size == (12, 24)


def test_nothing_else_opens_images_for_their_pixels() -> None:
    package = Path(dermray.__file__).parent
    openers = {str(f.relative_to(package)) for f in package.rglob("*.py") if "Image.open(" in f.read_text()}
    # a file's text alone; PNGs that the service drew; what a file is called, by its header
    others = {"provenance/text.py", "client/answers.py", "publishing/encoded.py"}
    assert openers == {"datasets/decode.py"} | others


def test_damaged_bytes_raise_nothing_else() -> None:
    rng, image = np.random.default_rng(0), Image.open(io.BytesIO(png()))
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"):
        good = encoded(image, kind, **({} if kind in ("BMP", "GIF") else {"icc_profile": ADOBE_RGB}))
        for _ in range(100):
            data = bytearray(good)
            for place in rng.integers(0, len(data) if rng.random() < 0.5 else 80, 4):
                data[place] = rng.integers(256)
            with contextlib.suppress(BadImage):
                assert decode(bytes(data)).mode == "RGB"


def test_photographs_of_public_data_sets_are_left_as_they_are(shared: Path) -> None:
    files = [file for place in ("ham10000_nc_subset", "isic_uda1", "pad_ufes_20_subset")
             for file in sorted((shared / place / "images").iterdir())[::12]]  # fmt: skip
    assert len(files) > 60
    for file in files:
        found = inspect(file.read_bytes())
        assert found.modification is None
        assert np.array_equal(np.asarray(found.image), np.asarray(Image.open(file).convert("RGB")))


def test_square_takes_the_centre() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 255
    assert square(Image.fromarray(image), 20).min() == 255
    assert square(Image.fromarray(image), 8).shape == (3, 8, 8)


def test_square_at_its_own_size_changes_no_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(square(Image.fromarray(image), 32).transpose(1, 2, 0), image)
