import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dermray.datasets.decode import BadImage, decode, square
from dermray.datasets.phantom import encode_png


def png(width: int = 40, height: int = 30) -> bytes:
    return encode_png(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def huge_png(width: int, height: int) -> bytes:
    """A few bytes whose header claims width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"just text", "not a JPEG or PNG"),
        (png()[:200], "truncated or damaged"),
        (huge_png(40_000, 25_000), "more than 64000000 pixels"),
        (huge_png(9_000, 9_000), "9000 x 9000 px"),
        (b"GIF89a" + b"\0" * 50, "not a JPEG or PNG"),
    ],
)
def test_bad_bytes_have_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        decode(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), (200, 100, 50)).convert(mode).save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    assert decode(buffer.getvalue()).mode == "RGB"


def test_square_takes_the_centre() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 255
    assert square(Image.fromarray(image), 20).min() == 255
    assert square(Image.fromarray(image), 8).shape == (3, 8, 8)


def test_square_at_its_own_size_changes_no_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(square(Image.fromarray(image), 32).transpose(1, 2, 0), image)
