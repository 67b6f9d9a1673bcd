"""An image as readers see it: nothing but its pixels tells where it came from."""

import io

from PIL import Image

from dermray.datasets.decode import decode, square


def shown(encoded: bytes, detail: int, side: int) -> bytes:
    """The central square of an image as a PNG of `side` px.

    Pixels are written anew, so no EXIF, ICC, C2PA or PNG text is left. Nothing is compressed, so that all files have
    the same number of bytes: smooth pictures compress better than photographs, and a file's size would tell.

    Args:
        detail: px to which the square is reduced first, the same for all images of a study: a generator's 64 px beside
            photographs of 256 px would be told by their blur alone.

    Raises:
        BadImage: it cannot be decoded.
    """
    image = Image.fromarray(square(decode(encoded), detail).transpose(1, 2, 0))
    if detail < side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()
