import io

import numpy as np
from PIL import Image

from dermray.evaluation import plots
from tests.evaluation.made_up import gaussian


def colours(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)


def shows(png: bytes, colour: str) -> bool:
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(colours(png).astype(int) - wanted).max(1) < 12).any())


def test_both_kinds_are_seen() -> None:
    sets = {"real": gaussian(60, 5, 0), "synthetic": gaussian(40, 5, 1, 2.0)}
    for png in (plots.pca(sets, "title"), plots.density(sets, "title")):
        assert all(shows(png, colour) for colour in plots.COLOURS)


def test_synthetic_images_that_are_all_alike_have_no_density_but_a_line() -> None:
    png = plots.density({"real": gaussian(60, 5, 0), "synthetic": np.ones((40, 5), np.float32)}, "title")
    assert shows(png, plots.COLOURS[1])
