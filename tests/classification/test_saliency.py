import io

import numpy as np
import pytest
from PIL import Image

from dermray.classification.saliency import GRID, occlusion, picture


def brightness(images: np.ndarray) -> np.ndarray:
    """A classifier that looks at the lower right quarter alone."""
    return np.asarray(images[:, :, images.shape[2] // 2 :, images.shape[3] // 2 :].mean((1, 2, 3)) / 255)


@pytest.mark.parametrize("size", [32, 50, 224])
def test_what_a_classifier_looks_at_is_red_and_the_rest_is_grey(size: int) -> None:
    image = np.full((3, size, size), 60, np.uint8)
    image[:, size // 2 :, size // 2 :] = 200
    falls = occlusion(brightness, image)
    inside = np.zeros((GRID, GRID), bool)
    inside[GRID // 2 :, GRID // 2 :] = True
    assert falls.shape == (GRID, GRID) and (falls[inside] > 0.01).all()
    assert np.abs(falls[~inside]).max() < (0.02 if size == 50 else 1e-9)  # 50 px do not part at a half of the grid
    shown = np.asarray(Image.open(io.BytesIO(picture(image, falls)))).astype(int)
    side = shown.shape[0]
    assert shown.shape == (max(256, size), max(256, size), 3)
    red = shown[..., 0] - shown[..., 2]
    assert red[side * 3 // 4, side * 3 // 4] > 80 and abs(red[side // 8, side // 8]) < 3
    assert (occlusion(lambda shown: 1 - brightness(shown), image)[inside] < 0).all()


def test_a_classifier_that_sees_nothing_has_a_grey_picture() -> None:
    falls = occlusion(lambda shown: np.full(len(shown), 0.5), np.zeros((3, 32, 32), np.uint8))
    shown = np.asarray(Image.open(io.BytesIO(picture(np.zeros((3, 32, 32), np.uint8), falls))))
    assert not falls.any() and not shown.any()
