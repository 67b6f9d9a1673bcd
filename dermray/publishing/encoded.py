"""What an encoded image is called, and what its header tells of the place where it was taken."""

import io
import warnings
from typing import NamedTuple

from PIL import Image

from dermray.datasets.decode import FORMATS

ENDINGS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp", "GIF": "gif"}
GPS = 0x8825  # EXIF 2.3, tag of the positions


class Encoded(NamedTuple):
    """What a header says."""

    ending: str  # of a file's name, without a dot
    has_position: bool  # where the camera was


def encoded(image: bytes) -> Encoded:
    """Of an image that ingest could decode.

    Raises:
        ValueError: no image.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images and odd EXIF: ingest has judged these
        try:
            opened = Image.open(io.BytesIO(image), formats=FORMATS)
        except OSError:
            raise ValueError("a row with status ok holds no image; make the result again") from None
        try:
            position = bool(opened.getexif().get_ifd(GPS))
        except Exception:  # damaged EXIF raises anything, and tells nobody a position
            position = False
        return Encoded(ENDINGS[opened.format or ""], position)
