"""What every served PNG says of itself, in its text chunks."""

import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def png(pixels: np.ndarray, said: dict[str, str]) -> bytes:
    """(H, W, 3) uint8 with international text chunks: the same bytes for the same pixels and words."""
    chunks, buffer = PngInfo(), io.BytesIO()
    for name, value in said.items():
        chunks.add_itxt(name, value)
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1, pnginfo=chunks)
    return buffer.getvalue()
