"""The readers' folder as one ZIP file, in which nothing but the pixels differs between images."""

import io
import time
import zipfile
from collections.abc import Mapping

ONE_TIME = 946_684_800  # Unix seconds: 1 January 2000, of every file that readers get


def packed(files: Mapping[str, bytes], folder: str) -> bytes:
    """Not compressed: the size that a picture shrinks to would tell photographs from smoother pictures."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(f"reader-study/{name.removeprefix(f'{folder}/')}", time.gmtime(ONE_TIME)[:6])
            archive.writestr(entry, content)
    return buffer.getvalue()
