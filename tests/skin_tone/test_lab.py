import numpy as np
import pytest

from dermray.skin_tone.lab import lab_of


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # of scikit-image's rgb2lab, D65, which agree with the tables of Lindbloom's calculator to these digits
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((255, 255, 0), (97.14, -21.55, 94.48)),
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_known_colours(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    assert lab_of(np.array(rgb, np.uint8)) == pytest.approx(lab, abs=0.03)


def test_greys_have_no_hue_and_are_in_order() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    lab = lab_of(grey)
    assert np.abs(lab[:, 1:]).max() < 1e-3 and (np.diff(lab[:, 0]) > 0).all()


def test_the_shape_stays() -> None:
    assert lab_of(np.zeros((4, 5, 3), np.uint8)).shape == (4, 5, 3)
    assert lab_of(np.zeros((4, 5, 3), np.uint8)).dtype == np.float32
