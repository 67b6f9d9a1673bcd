"""The one decoder: ingest, every later stage and the service see the same upright, opaque 8-bit sRGB pixels.

What bytes show is decided here, and what had to be changed for it is said in words, which ingest writes into the row
(`modification`). Where others might see other pixels the row holds a PNG of these, else the bytes as they were found.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from dermray.datasets import dicom
from dermray.datasets.colours import to_srgb
from dermray.datasets.decoded import BadImage as BadImage  # beside the decoder that raises it
from dermray.datasets.decoded import Decoded

MAX_PIXELS = 64_000_000  # 64 megapixels: more than any camera in use here, less than a decompression bomb
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")  # an MPO is a JPEG that holds more of them
EXPECTED = "JPEG, PNG, WebP, TIFF, BMP or GIF"
SHOWN_EVERYWHERE = ("JPEG", "PNG", "WEBP")  # by browsers, and by services that take images
ORIENTATION = 0x0112  # EXIF 2.3, tag 274
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,  # counter-clockwise: the camera's top is at the right
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # TIFF 6.0
# What people do bring, and Pillow does not read or not alike on every machine: (offset, first bytes, name).
OTHER_KINDS = [
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (128, b"DICM", "a DICOM file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
]


Read = TypeVar("Read")


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Encoded bytes as an RGB image, all of it decoded.

    Raises:
        BadImage: empty, no image, cut short, too many pixels, or without one meaning as 8-bit colours.
    """
    return inspect(data, max_pixels).image


def inspect(data: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The image, and what was changed to make it one; raises as `decode` does.

    Of DICOM too, which needs the extra `dicom`: NoDecoder without it.
    """
    if dicom.is_dicom(data):
        return dicom.decoded(data, max_pixels)
    return _of_opened(data, max_pixels, _decoded)


def size_of(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height in px by the header alone; raises as `decode` does where that is enough to know."""
    return _of_opened(data, max_pixels, lambda image: (image.width, image.height))


def _of_opened(data: bytes, max_pixels: int, read: Callable[[Any], Read]) -> Read:
    """What `read` makes of an opened file of which no pixel is read yet."""
    if not data:
        raise BadImage("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, judged below, and of damaged metadata
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > max_pixels:
                raise BadImage(f"{image.width} x {image.height} px: more than {max_pixels} pixels")
            return read(image)
    except (BadImage, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise BadImage(f"more than {max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise BadImage(f"{_kind(data)}: expected {EXPECTED}") from None
    except Exception:  # damaged bytes raise anything, from KeyError to struct.error: one bad row ends no job
        raise BadImage("truncated or damaged image") from None


def portable(data: bytes, side: int) -> bytes:
    """An image for others' decoders, made smaller where it exceeds `side` px.

    The bytes themselves where every reader shows them alike, a PNG of the pixels where not, a JPEG of a smaller image.

    Raises:
        BadImage: as `decode` does.
    """
    decoded = inspect(data)
    if max(decoded.image.size) > side:
        decoded.image.thumbnail((side, side))
        buffer = io.BytesIO()
        decoded.image.save(buffer, "JPEG", quality=95)
        return buffer.getvalue()
    if decoded.modification is None and decoded.format in SHOWN_EVERYWHERE:
        return data
    return png(decoded.image)


def png(image: Image.Image) -> bytes:
    """The image as PNG: the same bytes for the same pixels, as long as Pillow is the same."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)  # level 6 takes a tenth less room and four times as long
    return buffer.getvalue()


def square(image: Image.Image, size: int) -> np.ndarray:
    """(3, size, size) uint8: the central square, resized with antialiasing."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    cropped = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.ascontiguousarray(np.asarray(cropped).transpose(2, 0, 1))


def _kind(data: bytes) -> str:
    names = (name for offset, start, name in OTHER_KINDS if data.startswith(start, offset))
    return next(names, "not an image")


def _decoded(image: Any) -> Decoded:
    """An opened file to pixels. Alpha is set aside first, because a colour profile says nothing about it."""
    kind, several, deep = image.format, getattr(image, "is_animated", False), _is_deep(image)
    orientation = image.tag_v2.get(ORIENTATION) if kind == "TIFF" else None
    image.load()
    if kind != "TIFF":  # which Pillow turns as it loads it
        orientation = _orientation(image)
    profile = image.info.get("icc_profile")
    image, alpha = _colour_and_alpha(_eight_bit(image))
    image, changed, remark = to_srgb(image, profile)
    if alpha is not None:
        image = _on_white(image, alpha)
    if orientation in UPRIGHT and kind != "TIFF":
        image = image.transpose(UPRIGHT[orientation])
    image.info = {}
    frames = ["first of several frames"] if several else []
    still = kind == "MPO"  # a JPEG, of which every reader shows the first picture alone; the others move in some
    changes = [
        f"orientation {orientation}" if orientation in UPRIGHT else None,
        "16 bit to 8" if deep else None,
        "alpha on white" if alpha is not None else None,
        changed,
        *([] if still else frames),
    ]
    remarks = [remark, *(frames if still else [])]
    return Decoded(image, kind, tuple(filter(None, changes)), tuple(filter(None, remarks)))


def _is_deep(image: Any) -> bool:
    """Whether a channel has more than 8 bits: to be asked before loading, which forgets it."""
    if image.format == "TIFF":
        return max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))) > 8
    return image.format == "PNG" and ";16" in str(image.tile[0].args)


def _orientation(image: Any) -> int | None:
    """None where the metadata is damaged: the picture itself need not be."""
    try:
        orientation: int | None = image.getexif().get(ORIENTATION)
    except Exception:
        return None
    return orientation


def _eight_bit(image: Any) -> Image.Image:
    """Grey of 16 bits to 8 by the high byte, as Pillow does with colours of 16 bits.

    Raises:
        BadImage: floating-point or 32-bit numbers, whose white nobody knows.
    """
    if image.mode in ("I", "F", "LAB"):
        raise BadImage(f"pixels of mode {image.mode}, not 8 or 16 bits a channel: save it as 8-bit RGB")
    if not image.mode.startswith("I;16"):
        return image
    values: np.ndarray = np.asarray(image).astype(np.uint16)
    tags = getattr(image, "tag_v2", {})
    if tags.get(BITS_PER_SAMPLE, (16,))[0] == 12:
        values = values << 4
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        values = ~values
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    key = image.info.get("transparency")  # the one value that is transparent
    if key is None:
        return grey
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))))


def _colour_and_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """L, CMYK or RGB, and how opaque each pixel is: None where all are.

    Raises:
        BadImage: nothing is opaque.
    """
    if not image.has_transparency_data:
        return (image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")), None
    layers = image.convert("RGBA")
    alpha = layers.getchannel("A")
    darkest, lightest = alpha.getextrema()
    if lightest == 0:
        raise BadImage("every pixel is transparent")
    # a grey image stays grey, for its profile is one of greys
    colour = image.getchannel("L") if image.mode == "LA" else layers.convert("RGB")
    return colour, None if darkest == 255 else alpha


def _on_white(image: Image.Image, alpha: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=alpha)
    return white
