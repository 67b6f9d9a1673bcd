import numpy as np
import pytest
import torch

from dermray.datasets.renderer import draw_phantoms
from dermray.synthesis.gate import network
from dermray.synthesis.gate.copies import KINDS, planted

[(_, DRAWN)] = draw_phantoms(3, 1, 64)
IMAGE = torch.from_numpy(DRAWN.image).permute(2, 0, 1)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_copy_is_another_image_of_the_same_shape_and_the_same_again(kind: str) -> None:
    copy = planted(IMAGE, kind, (1, 2))
    assert copy.shape == IMAGE.shape and copy.dtype == torch.uint8
    assert torch.equal(copy, planted(IMAGE, kind, (1, 2)))
    assert torch.equal(copy, IMAGE) == (kind == "unchanged")
    difference = (copy.float() - IMAGE.float()).abs().mean()
    assert difference < 80, "still the same picture"


def test_kinds_do_what_they_say() -> None:
    def copy(kind: str) -> np.ndarray:
        return planted(IMAGE, kind, (5,)).numpy().astype(float)

    image = IMAGE.numpy().astype(float)
    for kind in ("mirrored", "quarter turn"):
        assert sorted(copy(kind).ravel()) == sorted(image.ravel())
    assert abs(copy("lighter or darker").mean() / image.mean() - 1) > 0.08
    assert 8 < (copy("noise") - image).std() < 16
    assert 0 < abs(copy("JPEG 50") - image).mean() < 12
    cast = (copy("recoloured").mean((1, 2)) / copy("recoloured").mean()) - image.mean((1, 2)) / image.mean()
    assert abs(cast).max() > 0.02


@pytest.mark.slow
def test_the_network_learns_to_tell_copies_from_others() -> None:
    images = torch.stack([torch.from_numpy(drawn.image).permute(2, 0, 1) for _, drawn in draw_phantoms(1, 64, 32)])
    copies = torch.stack([planted(image, list(KINDS)[-1], (n,)) for n, image in enumerate(images)])

    def named(of: network.CopyNetwork) -> float:
        nearest = torch.cdist(of(copies), of(images)).argmin(1)
        return float((nearest == torch.arange(64)).float().mean())

    learned = network.fit(images, 25, 0)
    assert named(learned) > 0.5 and named(learned) > named(network.fit(images, 1, 0)) + 0.2
    again = network.fit(images, 25, 0)
    assert learned.hash == again.hash, "the same seed, the same network"
    assert torch.allclose(learned(images).norm(dim=1), torch.ones(64), atol=1e-5)
