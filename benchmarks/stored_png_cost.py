"""What a normalised PNG costs over the bytes as they were found: bytes an image, and CPU time of looking at it.

    python -m benchmarks.stored_png_cost FOLDER [FOLDER ...]

Every JPEG of the folders is looked at as ingest does it, twice in turn: as it is, and with EXIF that says it lies on
its side, the same JPEG stream behind it, so that ingest stores a PNG. CPU time of this process.
"""

import sys
import time
from pathlib import Path

from PIL import Image

from dermray.datasets.looking import _examine

SOI = b"\xff\xd8"  # a JPEG's first two bytes


def on_its_side(jpeg: bytes) -> bytes:
    """The same picture with an APP1 segment that says orientation 6."""
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()
    segment = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    return SOI + segment + jpeg[len(SOI) :]


def main() -> None:
    """Print a table in Markdown, a line for each folder."""
    print("| folder | images | bytes as found | bytes of PNG | times | CPU ms as found | CPU ms with PNG |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for folder in map(Path, sys.argv[1:]):
        found = stored = images = 0
        seconds = [0.0, 0.0]
        for file in sorted(folder.rglob("*.jpg")):
            data = file.read_bytes()
            for place, given in enumerate((data, on_its_side(data))):
                start = time.process_time()
                row = _examine({"image": given})
                seconds[place] += time.process_time() - start
            if row["status"] != "ok" or row["modification"] != "orientation 6":
                raise SystemExit(f"{file}: {row['status']}, {row['modification']}: expected a plain upright JPEG")
            images, found, stored = images + 1, found + len(data), stored + len(row["image"])
        if not images:
            raise SystemExit(f"{folder}: no .jpg below it")
        before, after = (1e3 * each / images for each in seconds)
        name = folder.parent.name if folder.name == "images" else folder.name
        sizes = f"{found // images} | {stored // images} | {stored / found:.2f}"
        print(f"| {name} | {images} | {sizes} | {before:.1f} | {after:.1f} |", flush=True)


if __name__ == "__main__":
    main()
