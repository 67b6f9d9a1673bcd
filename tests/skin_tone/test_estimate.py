from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dermray.datasets.decode import decode
from dermray.datasets.renderer import draw_phantoms, draw_truth, render
from dermray.skin_tone.estimate import CAST, TOO_LITTLE, ByAngle, Estimate, measured
from dermray.skin_tone.ita import tone_of


def degrees(image: Image.Image) -> float:
    found = measured(image).degrees
    assert found is not None
    return found


def phantom(seed: int, size: int) -> Image.Image:
    return Image.fromarray(render(draw_truth(np.random.default_rng(seed)), seed, size).image)


@pytest.mark.parametrize("size", [32, 128])
def test_phantoms_have_the_tones_they_were_drawn_with(size: int) -> None:
    angles, right = defaultdict(list), list[bool]()
    for truth, rendering in draw_phantoms(1, 90, size):
        found = degrees(Image.fromarray(rendering.image))
        angles[truth.skin_tone].append(found)
        right.append(tone_of(found) == truth.skin_tone)
    assert np.mean(angles["A"]) > np.mean(angles["B"]) + 20 > np.mean(angles["C"]) + 40
    assert np.mean(right) > 0.95


@given(st.integers(0, 10**6), st.sampled_from(list(Image.Transpose)))
def test_neither_flips_nor_turns_change_it(seed: int, turned: Image.Transpose) -> None:
    image = phantom(seed, 64)
    assert degrees(image.transpose(turned)) == pytest.approx(degrees(image), abs=0.5)


@given(st.integers(0, 10**6), st.sampled_from([96, 300, 512]))
def test_its_size_changes_it_little(seed: int, size: int) -> None:
    image = phantom(seed, 128)
    assert degrees(image.resize((size, size), Image.Resampling.BICUBIC)) == pytest.approx(degrees(image), abs=3)


@given(st.integers(0, 10**6), st.floats(0.75, 0.9))  # in less light the darkest skin counts as black
def test_a_darker_picture_says_darker_skin(seed: int, share: float) -> None:
    image = phantom(seed, 64)
    assert degrees(image.point([round(value * share) for value in range(256)] * 3)) < degrees(image)


def test_the_same_pixels_say_the_same() -> None:
    image = phantom(3, 64)
    assert measured(image) == measured(image.copy())


@pytest.mark.parametrize("margin", [2, 5])
def test_a_lesion_that_nearly_fills_the_picture_leaves_too_little_skin(margin: int) -> None:
    """Two sides of 5 of 128 px are 8% of the picture. Without any rim nobody could tell it from dark skin."""
    rgb = np.full((128, 128, 3), (235, 200, 180), np.uint8)
    rgb[margin : 128 - margin, : 128 - margin] = (80, 50, 40)
    assert ByAngle()(Image.fromarray(rgb)) == Estimate(None, TOO_LITTLE)


def test_black_and_blown_out_pictures_have_none() -> None:
    for colour in ((0, 0, 0), (255, 255, 255)):
        assert ByAngle()(Image.new("RGB", (64, 64), colour)) == Estimate(None, TOO_LITTLE)


def test_bluish_light_has_no_angle() -> None:
    assert ByAngle()(Image.new("RGB", (64, 64), (180, 180, 230))) == Estimate(None, CAST)


def test_ink_and_drapes_do_not_count() -> None:
    skin = Image.new("RGB", (128, 128), (203, 156, 124))
    draped = skin.copy()
    draped.paste((150, 170, 220), (0, 0, 40, 128))
    assert degrees(draped) == pytest.approx(degrees(skin), abs=0.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 2), (3, 3)])
def test_pictures_of_any_shape_get_an_answer(size: tuple[int, int]) -> None:
    found = ByAngle()(Image.new("RGB", size, (203, 156, 124)))
    assert found == Estimate("B")


def test_photographs_bear_out_what_the_docs_warn_of(shared: Path) -> None:
    """Of those of known type most get an estimate, which is right less often than "always A" would be."""
    folder = shared / "pad_ufes_20_subset"
    table = pd.read_csv(folder / "metadata.csv").dropna(subset=["fitspatrick"])
    known = ["A" if kind <= 2 else "B" for kind in table.fitspatrick]
    said = [ByAngle()(decode((folder / file).read_bytes())).tone for file in table.file]
    right = [a == b for a, b in zip(known, said, strict=True) if b]
    assert len(right) > 0.9 * len(known) and np.mean(right) < known.count("A") / len(known)
