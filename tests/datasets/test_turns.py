"""What is said of a turned image from the fingerprint of the image as it lay, against the turned image's own."""

from itertools import product

import numpy as np
import pytest
from PIL import Image

from dermray.datasets.near_duplicates import fingerprint
from dermray.datasets.renderer import draw_phantoms
from dermray.datasets.turns import TURNS, Turn


@pytest.mark.parametrize("turn", [Turn(*sides) for sides in product((False, True), repeat=3)])
def test_a_turned_fingerprint_is_that_of_the_turned_image(turn: Turn) -> None:
    for _, drawn in draw_phantoms(3, 20, 64):
        picture = drawn.image.swapaxes(0, 1) if turn.transposed else drawn.image
        picture = picture[:, ::-1] if turn.mirrored else picture
        picture = picture[::-1] if turn.upset else picture
        value, thumbnail = fingerprint(Image.fromarray(drawn.image))
        expected, shown = fingerprint(Image.fromarray(np.ascontiguousarray(picture)))
        [found] = turn.hashes(np.array([value], np.uint64)).tolist()
        assert (found ^ expected).bit_count() <= 1, "Pillow rounds rows and columns one after the other"
        pixels = turn.thumbnails(np.frombuffer(thumbnail, np.uint8)[None]).astype(int)
        assert np.abs(pixels - np.frombuffer(shown, np.uint8)).max() <= 1


def test_turns_and_their_inverses_are_all_eight() -> None:
    hashes = np.random.default_rng(0).integers(0, 1 << 63, 200, dtype=np.uint64)
    every = {tuple(Turn(*sides).hashes(hashes).tolist()) for sides in product((False, True), repeat=3)}
    assert len(every) == 8
    back = Turn(True, True, False)
    assert np.array_equal(back.hashes(Turn(True, False, True).hashes(hashes)), hashes) and back not in TURNS
