import io
from pathlib import Path

import numpy as np
from PIL import Image

from dermray.datasets.near_duplicates import fingerprint, near_duplicates
from dermray.datasets.renderer import draw_phantoms


def found(images: list[Image.Image]) -> set[tuple[int, int]]:
    hashes, thumbnails = zip(*map(fingerprint, images), strict=True)
    return set(near_duplicates(list(hashes), list(thumbnails)))


def recompressed(image: Image.Image, quality: int, scale: float) -> Image.Image:
    buffer = io.BytesIO()
    image.resize((int(image.width * scale), int(image.height * scale))).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def test_recompressed_and_resized_photographs_are_found_and_others_are_not(shared: Path) -> None:
    files = sorted((shared / "ham10000_nc_subset" / "images").iterdir())[:120]
    originals = [Image.open(f).convert("RGB") for f in files]
    copies = [recompressed(image, 60, 0.7) for image in originals]
    pairs = found(originals + copies)
    expected = {(i, i + len(originals)) for i in range(len(originals))}
    assert len(pairs & expected) >= 0.9 * len(expected)
    assert len(pairs - expected) <= 2


def test_known_duplicate_pairs_of_the_archive(shared: Path) -> None:
    folder = shared / "isic_uda1" / "images"
    names = [
        n for n in ("ISIC_0000279", "ISIC_0000280", "ISIC_0000477", "ISIC_0000512") if (folder / f"{n}.jpg").exists()
    ]
    images = [Image.open(folder / f"{n}.jpg").convert("RGB") for n in names]
    assert len(found(images)) == len(names) // 2 > 0


def test_phantoms_are_not_each_others_duplicates() -> None:
    images = [Image.fromarray(r.image) for _, r in draw_phantoms(5, 300, 64)]
    assert len(found(images)) <= 1
    assert (0, 300) in found([*images, images[0]])


def test_a_crowd_of_blank_images_does_not_take_for_ever() -> None:
    blank = [Image.fromarray(np.full((16, 16, 3), 200, np.uint8))] * 1200
    assert found(blank) == set()
