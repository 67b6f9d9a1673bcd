from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dermray.datasets.renderer import Rendering, Truth, draw_phantoms, draw_truth, render
from dermray.skin_tone.lab import lab_of
from dermray.skin_tone.skin import SIDE, reduced, skin, threshold, visible

PLAIN = replace(draw_truth(np.random.default_rng(0)), skin_tone="B", hair=False, ruler=False, vignette=False,
                colours=("dark brown",), asymmetry=False, border_irregular=False)  # fmt: skip


def chosen(image: np.ndarray) -> np.ndarray:
    return skin(image, lab_of(image))


def drawn(seed: int = 1, size: int = SIDE, **changes: Any) -> Rendering:
    return render(replace(PLAIN, **changes), seed, size)


@given(st.lists(st.integers(0, 40), min_size=2, max_size=200).filter(lambda values: len(set(values)) > 1))
def test_the_threshold_parts_values_as_far_as_any(values: list[int]) -> None:
    given = np.array(values, float)

    def apart(limit: float) -> float:
        high = given > limit
        if high.all() or not high.any():
            return 0.0
        return float(high.mean() * (1 - high.mean()) * (given[high].mean() - given[~high].mean()) ** 2)

    best = max(apart(value) for value in np.unique(given))
    assert apart(threshold(given)) == pytest.approx(best, rel=0.05)


def test_a_dark_lesion_is_left_out_and_its_skin_is_not() -> None:
    for seed in range(8):
        rendering = drawn(seed)
        found, lesion = chosen(rendering.image), rendering.colour_index >= 0
        assert not (found & lesion).any() and (found & ~lesion).sum() > 0.7 * (~lesion).sum()


def test_a_light_lesion_on_dark_skin_is_left_out_too() -> None:
    rendering = drawn(colours=("white",), skin_tone="C")
    found, lesion = chosen(rendering.image), rendering.colour_index >= 0
    assert (found & lesion).sum() < 0.01 * lesion.sum() and (found & ~lesion).sum() > 0.7 * (~lesion).sum()


def test_what_is_chosen_of_phantoms_is_skin() -> None:
    """Of all colours, with hair, rulers and vignettes. Lesions of the skin's own lightness cannot be told from it."""
    lesion = defaultdict(list)
    for truth, rendering in draw_phantoms(5, 100, SIDE):
        inside = rendering.colour_index >= 0
        lesion[truth.skin_tone].append((inside[chosen(rendering.image)].mean(), inside.mean()))
    left = {tone: np.divide(*np.mean(shares, axis=0)) for tone, shares in lesion.items()}
    assert left["A"] < 0.2 and left["B"] < 0.35 and left["C"] < 0.75, left


def test_hair_glare_and_the_dermatoscopes_black_are_not_seen() -> None:
    plain, hairy, tube = (drawn(**changes).image for changes in ({}, {"hair": True}, {"vignette": True}))
    assert visible(plain, lab_of(plain)).mean() > 0.97
    strands = np.abs(plain.astype(int) - hairy).max(-1) > 60
    assert strands.sum() > 100 and not (visible(hairy, lab_of(hairy)) & strands).any()
    black = lab_of(tube)[..., 0] < 15
    assert black.mean() > 0.01 and not (visible(tube, lab_of(tube)) & black).any()
    shiny = plain.copy()
    shiny[5:15, 5:15] = 255
    assert not visible(shiny, lab_of(shiny))[5:15, 5:15].any() and visible(shiny, lab_of(shiny)).mean() > 0.95


def test_dark_skin_at_the_edge_is_no_dermatoscope() -> None:
    """Black is told by its lightness, which the darkest photographed skin (L* some 25) stays above."""
    dark = np.full((64, 64, 3), (74, 54, 44), np.uint8)
    assert 20 < lab_of(dark)[0, 0, 0] < 26 and chosen(dark).all()


def test_without_contrast_all_is_skin() -> None:
    flat = drawn(colours=("light brown",)).image.copy()
    flat[:] = (203, 156, 124)
    assert chosen(flat).all()


def test_black_pictures_show_none() -> None:
    assert not chosen(np.zeros((32, 32, 3), np.uint8)).any()


@given(st.integers(1, 700), st.integers(1, 700))
def test_pictures_are_only_made_smaller_and_keep_their_shape(width: int, height: int) -> None:
    image = Image.new("RGB", (width, height), (200, 150, 120))
    small = reduced(image)
    assert max(small.shape[:2]) == min(SIDE, max(width, height)) and small.shape[2] == 3
    assert abs(small.shape[1] / small.shape[0] - width / height) <= width / height or min(small.shape[:2]) == 1
    assert (small == (200, 150, 120)).all()


def truth(seed: int) -> Truth:
    return draw_truth(np.random.default_rng(seed))


@given(st.integers(0, 10**6))
def test_a_mirrored_picture_has_the_mirrored_skin(seed: int) -> None:
    image = render(truth(seed), seed, 64).image
    found, mirrored = chosen(image), chosen(np.ascontiguousarray(image[:, ::-1]))
    assert (found != mirrored[:, ::-1]).mean() < 0.01  # sums of floats in another order
