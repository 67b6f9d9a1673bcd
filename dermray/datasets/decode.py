"""Look at encoded bytes before anything trusts them."""

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 64_000_000  # 64 megapixels: more than any camera in use here, less than a decompression bomb


class BadImage(ValueError):
    """Bytes that are no usable image; the message is the row's reason."""


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Encoded JPEG or PNG as an RGB image, all of it decoded.

    Raises:
        BadImage: empty, no image, cut short, or too many pixels.
    """
    if not data:
        raise BadImage("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # judged by max_pixels below
            image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
        if image.width * image.height > max_pixels:
            raise BadImage(f"{image.width} x {image.height} px: more than {max_pixels} pixels")
        return image.convert("RGB")
    except Image.DecompressionBombError:
        raise BadImage(f"more than {max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise BadImage("not a JPEG or PNG image") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, BadImage):
            raise
        raise BadImage("truncated or damaged image") from None


def square(image: Image.Image, size: int) -> np.ndarray:
    """(3, size, size) uint8: the central square, resized with antialiasing."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    cropped = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.ascontiguousarray(np.asarray(cropped).transpose(2, 0, 1))
