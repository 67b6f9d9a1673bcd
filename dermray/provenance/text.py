"""What a PNG that a generator drew says of itself in its text chunks: in rows and in the service by the same names."""

import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

DISCLAIMER = "Synthetic image, drawn by a model. For research; nothing in it is for diagnosis."
NUL, REPLACEMENT = "\0", "�"


def said(
    *, family: str, generator: str, licence: str, prompt: str, seed: int, guidance_scale: float, steps: int, **more: str
) -> dict[str, str]:
    """What it takes to draw an image again, and that it was drawn.

    Args:
        generator: key of its manifest, or a fingerprint of its weights. licence: of all that it was made from.
        more: what is known beside it, such as the model's name in a service.
    """
    return {
        "origin": "synthetic", "Software": "dermray", "Disclaimer": DISCLAIMER, "family": family,
        "generator": generator, "licence": licence, "prompt": prompt, "seed": str(seed),
        "guidance_scale": str(guidance_scale), "steps": str(steps), **more,
    }  # fmt: skip


def png(pixels: np.ndarray, said: dict[str, str]) -> bytes:
    """(H, W, 3) uint8 with international text chunks: the same bytes for the same pixels and words.

    A NUL ends or splits a text in PNG (ISO/IEC 15948, 11.3.4.5) and becomes U+FFFD.
    """
    chunks, buffer = PngInfo(), io.BytesIO()
    for name, value in said.items():
        chunks.add_itxt(name, value.replace(NUL, REPLACEMENT))
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1, pnginfo=chunks)
    return buffer.getvalue()


def read(data: bytes) -> dict[str, str]:
    """The text chunks of a PNG, wherever in it they stand; none of another image.

    Raises:
        ValueError: damaged, or more text than any honest file has. OSError: no image, or cut short.
    """
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()  # text may follow the pixels
        return {name: str(value) for name, value in getattr(opened, "text", {}).items()}
