import torch
from torch import Tensor
from torch.nn import functional as F

from dermray.synthesis.gate.registration import residuals
from dermray.synthesis.gate.thumbnails import close_ups, described, orientations, standardised, thumbnails


def pictures(count: int, seed: int = 0, side: int = 64) -> Tensor:
    """Smooth random ones (N, 3, side, side) uint8."""
    rough = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(rough, (side, side), mode="bicubic", align_corners=False)
    return (smooth.clamp(0, 1) * 255).to(torch.uint8)


def moved(images: Tensor, matrix: Tensor) -> Tensor:
    grid = F.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False).round().to(torch.uint8)


def test_equal_images_are_at_zero_and_others_are_not() -> None:
    thumbs = thumbnails(pictures(12))
    assert residuals(thumbs, thumbs).max() < 1e-5
    assert residuals(thumbs, thumbs.roll(1, 0)).min() > 0.4


def test_a_small_affine_change_is_undone() -> None:
    images = pictures(12)
    for matrix in ([[0.9, 0, 0.05], [0, 0.9, -0.1]], [[0.97, -0.2, 0], [0.2, 0.97, 0]]):
        copies = thumbnails(moved(images, torch.tensor(matrix)))
        before = (
            (standardised(copies / 255.0) - standardised(thumbnails(images) / 255.0)).square().mean((1, 2, 3)).sqrt()
        )
        after = residuals(copies, thumbnails(images))
        assert (after < 0.5 * before).float().mean() > 0.8 and (after <= before + 1e-5).all()


def test_brightness_contrast_and_white_balance_make_no_difference() -> None:
    images = pictures(6)
    copies = (images * torch.tensor([0.9, 0.7, 0.8]).view(3, 1, 1) + 20).to(torch.uint8)
    assert residuals(thumbnails(copies), thumbnails(images)).max() < 0.1


def test_an_even_surface_is_not_blown_up_to_a_picture() -> None:
    even = torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)
    even[1, :, 3, 3] += 1
    assert residuals(thumbnails(even[:1]), thumbnails(even[1:]))[0] < 0.1


def test_eight_different_orientations_of_any_number_of_images() -> None:
    image = torch.rand(3, 16, 16)
    assert len({turned.numpy().tobytes() for turned in orientations(image)}) == 8
    for one, several in zip(orientations(image), orientations(image[None]), strict=True):
        assert torch.equal(one, several[0])


def test_a_close_up_is_described_as_a_crop_of_the_middle_is() -> None:
    images = pictures(8)
    crop = described(thumbnails(moved(images, 0.9 * torch.eye(2, 3))))
    whole, middle = described(thumbnails(images)), described(close_ups(thumbnails(images)))
    assert (abs(crop - middle).mean(1) < 0.5 * abs(crop - whole).mean(1)).all()
