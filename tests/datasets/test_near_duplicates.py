import io
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from benchmarks.near_duplicates_cost import made
from dermray.datasets.near_duplicates import (
    FLAT,
    MAX_BITS,
    MAX_DIFFERENCE,
    MAX_STANDARDISED,
    fingerprint,
    near_duplicates,
)
from dermray.datasets.renderer import draw_phantoms
from dermray.datasets.splits import leak_groups
from dermray.datasets.turns import TURNS, Turn


def found(images: list[Image.Image]) -> set[tuple[int, int]]:
    hashes, thumbnails = zip(*map(fingerprint, images), strict=True)
    pictures = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(images), -1)
    links = near_duplicates(np.array(hashes, np.uint64), pictures)
    assert links.uncompared == 0
    return {tuple(sorted(link)) for link in links.links.tolist()}


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


def test_the_exact_pairs_that_the_archive_holds_are_found_and_no_others(shared: Path) -> None:
    folder = shared / "isic_uda1"
    [named] = re.findall(r"exact duplicate pairs: (.*);", (folder / "PROVENANCE.md").read_text())
    pairs = [(first, f"ISIC_{second}") for first, second in re.findall(r"(ISIC_\d+)/(\d+)", named)]
    others = [file.stem for file in sorted((folder / "images").iterdir())[::8]]
    names = sorted({*others, *(name for pair in pairs for name in pair)})
    images = [Image.open(folder / "images" / f"{name}.jpg").convert("RGB") for name in names]
    assert len(pairs) == 2 and {(names[i], names[j]) for i, j in found(images)} == set(pairs)


def test_phantoms_are_not_each_others_duplicates() -> None:
    images = [Image.fromarray(r.image) for _, r in draw_phantoms(5, 300, 64)]
    assert len(found(images)) <= 1
    assert (0, 300) in found([*images, images[0]])


def joined(hashes: np.ndarray, thumbnails: np.ndarray) -> tuple[list[int], int]:
    """The group of each image, by its first member, and how many candidates were not compared."""
    result = near_duplicates(hashes, thumbnails)
    groups = leak_groups([np.arange(len(hashes))], result.links)
    _, first, same = np.unique(groups, return_index=True, return_inverse=True)
    return first[same].tolist(), result.uncompared


def compared_one_by_one(hashes: np.ndarray, thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """What the search must find: every pair looked at in every way, bit by bit."""
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8)).reshape(-1, 8, 8).astype(int)
    pictures, odd, pairs = thumbnails.reshape(-1, 8, 8, 3).astype(float), np.arange(8) % 2, []
    for transposed, mirrored, upset in product((False, True), repeat=3):
        turned, shown = (x.swapaxes(1, 2) if transposed else x for x in (bits, pictures))
        turned, shown = (turned ^ odd, shown[:, :, ::-1]) if mirrored else (turned, shown)
        turned, shown = (turned ^ odd[:, None], shown[:, ::-1]) if upset else (turned, shown)
        near = np.argwhere((turned[:, None] != bits[None]).sum((2, 3)) <= MAX_BITS)
        pairs += [(i, j) for i, j in near.tolist() if i != j and look_alike(shown[i], pictures[j])]
    return pairs


def look_alike(one: np.ndarray, other: np.ndarray) -> bool:
    plain = [(p - p.mean((0, 1))) / (p.std((0, 1)) + FLAT) for p in (one, other)]
    return np.abs(one - other).mean() <= MAX_DIFFERENCE or np.abs(plain[0] - plain[1]).mean() <= MAX_STANDARDISED


@pytest.mark.parametrize("turn", TURNS)
def test_none_can_be_turned(turn: Turn) -> None:
    assert turn.thumbnails(np.empty((0, 192), np.uint8)).shape == (0, 192)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), crowd=st.sampled_from([1, 3, 4096]), bits=st.integers(2, 64))
def test_the_search_finds_what_a_look_at_every_pair_finds(seed: int, crowd: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 1 << bits, 12, dtype=np.uint64, endpoint=bits < 64)[rng.integers(0, 12, 60)]
    thumbnails = rng.integers(10, 240, (3, 192))[rng.integers(0, 3, 60)] + rng.integers(-9, 10, (60, 192))
    thumbnails = thumbnails.astype(np.uint8)
    for turn in TURNS:  # so that some are others turned
        which = rng.random(60) < 0.1
        hashes[which], thumbnails[which] = turn.hashes(hashes[which]), turn.thumbnails(thumbnails[which])
    for _ in range(3):
        flipped = np.uint64(1) << rng.integers(0, 64, 60, dtype=np.uint64)
        hashes = np.where(rng.random(60) < 0.5, hashes ^ flipped, hashes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dermray.datasets.near_duplicates.CROWD", crowd)
        patch.setattr("dermray.datasets.near_duplicates.AT_ONCE", 400)
        patch.setattr("dermray.datasets.near_duplicates.MOST_LINKS", 300)
        found = joined(hashes, thumbnails)
    links = np.array(compared_one_by_one(hashes, thumbnails), np.int64)
    groups = leak_groups([np.arange(60)], links)
    _, first, same = np.unique(groups, return_index=True, return_inverse=True)
    assert found == (first[same].tolist(), 0)


@pytest.mark.parametrize("way", [*Image.Transpose])
def test_mirrored_and_turned_photographs_are_found(shared: Path, way: Image.Transpose) -> None:
    files = sorted((shared / "ham10000_nc_subset" / "images").iterdir())[:12]
    originals = [Image.open(f).convert("RGB") for f in files]
    darker = [ImageEnhance.Brightness(image.transpose(way)).enhance(0.8) for image in originals]
    assert found(originals + darker) == {(i, i + len(originals)) for i in range(len(originals))}


def test_a_crowd_is_joined_and_not_left_out() -> None:
    rng = np.random.default_rng(0)
    hashes, picture = np.full(1300, 77, np.uint64), rng.integers(20, 230, 192)
    pictures = np.clip(picture + rng.integers(-4, 5, (1300, 192)), 0, 255).astype(np.uint8)
    pictures[1299] = 255 - pictures[1299]
    groups, uncompared = joined(hashes, pictures)
    assert groups == [0] * 1299 + [1299] and uncompared == 0
    blank = [Image.fromarray(np.full((16, 16, 3), 200, np.uint8))] * 1200
    assert len(found(blank)) == 1199, "copies are linked once each"


def test_what_is_too_much_to_compare_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dermray.datasets.near_duplicates.MOST_CANDIDATES", 100)
    pictures = np.random.default_rng(0).integers(0, 256, (20, 192), dtype=np.uint8)
    _, uncompared = joined(np.full(20, 0x1234_5678_9ABC_DEF0, np.uint64), pictures)
    assert uncompared == 20 * 20 - 100


def test_pairs_inside_the_fullest_band_are_found() -> None:
    hashes, thumbnails, pairs = made(20_000)
    links = {tuple(sorted(link)) for link in near_duplicates(hashes, thumbnails).links.tolist()}
    assert len(pairs) > 50 and all(tuple(sorted(pair)) in links for pair in pairs.tolist())
