"""Text chunks, by a reader of PNG's own grammar beside Pillow's."""

import struct
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dermray.datasets.decode import decode, png
from dermray.provenance import text

PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def international(data: bytes) -> dict[str, str]:
    """iTXt chunks, ISO/IEC 15948, 11.3.4.5: keyword NUL, compression (2 bytes), language NUL, keyword NUL, text to the
    end."""
    found, place = {}, 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        body, (crc,) = data[place + 8 :][:length], struct.unpack(">I", data[place + 8 + length :][:4])
        assert crc == zlib.crc32(kind + body)
        if kind == b"iTXt":
            keyword, rest = body.split(b"\0", 1)
            assert rest[:2] == b"\0\0" and 1 <= len(keyword) <= 79
            _, _, said = rest[2:].split(b"\0", 2)
            assert b"\0" not in said, "no NUL in the text of a chunk"
            found[keyword.decode("latin-1")] = said.decode()
        place += length + 12
    return found


@given(prompt=WORDS, licence=WORDS)
def test_any_words_are_read_back_and_a_nul_is_replaced(prompt: str, licence: str) -> None:
    said = {"prompt": prompt, "licence": licence}
    made = text.png(PIXELS, said)
    expected = {name: value.replace("\0", "\ufffd") for name, value in said.items()}
    assert text.read(made) == expected == international(made)
    assert np.array_equal(np.asarray(decode(made)), PIXELS)


def test_a_prompt_with_a_nul() -> None:
    assert international(text.png(PIXELS, {"prompt": "red\0blue"})) == {"prompt": "red\ufffdblue"}


def test_the_same_bytes_for_the_same_image_and_words() -> None:
    assert text.png(PIXELS, {"seed": "1"}) == text.png(PIXELS, {"seed": "1"}) != text.png(PIXELS, {"seed": "2"})


def test_other_images_have_no_text() -> None:
    assert text.read(png(Image.fromarray(PIXELS))) == {}
