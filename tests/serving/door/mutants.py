"""Image files with bytes changed, cut, doubled and put in: what a fuzzer would send."""

import io
import random
from collections.abc import Iterator

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")


def mutants(chance: random.Random, number: int) -> Iterator[bytes]:
    """So many files, of all formats in turn."""
    for i in range(number):
        data = bytearray(_image(chance, FORMATS[i % len(FORMATS)]))
        for _ in range(chance.choice((1, 2, 8, 64))):
            _change(chance, data)
        yield bytes(data)


def _image(chance: random.Random, kind: str) -> bytes:
    mode = chance.choice(("RGB", "L", "P"))
    image = Image.frombytes("RGB", (24, 18), chance.randbytes(24 * 18 * 3)).convert(mode)
    out = io.BytesIO()
    image.convert("RGB" if kind in ("JPEG", "WEBP") else mode).save(out, kind)
    return out.getvalue()


def _change(chance: random.Random, data: bytearray) -> None:
    at = chance.randrange(len(data) or 1)
    match chance.randrange(4):
        case 0:
            data[at : at + 1] = chance.randbytes(1)
        case 1:
            del data[at : at + chance.randrange(1, 40)]
        case 2:
            data[at:at] = chance.randbytes(chance.randrange(1, 40))
        case _:
            data[at : at + 4] = chance.choice((b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff"))
