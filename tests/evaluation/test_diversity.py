import pytest
import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from dermray.evaluation.diversity import ms_ssim, scales_and_kernel


@pytest.mark.parametrize("size", [16, 32, 64, 96, 128, 161, 176, 256])
def test_the_settings_work_at_every_size(size: int) -> None:
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
    found = ms_ssim(images, ["a"] * 4, 3, 0)
    assert (found["scales"], found["kernel"]) == scales_and_kernel(size)
    assert -1 <= found["ms_ssim"] <= 1


def test_large_images_use_the_published_settings() -> None:
    assert scales_and_kernel(256) == (5, 11)
    images = torch.randint(0, 256, (2, 3, 256, 256), dtype=torch.uint8)
    a, b = images[:1].float() / 255, images[1:].float() / 255
    expected = multiscale_structural_similarity_index_measure(a, b, data_range=1.0)
    assert ms_ssim(images, ["a", "a"], 1, 0)["ms_ssim"] == pytest.approx(float(expected), abs=1e-3)


def test_equal_images_are_not_diverse_and_pairs_stay_within_a_class() -> None:
    dark, light = torch.zeros(3, 3, 32, 32, dtype=torch.uint8), torch.full((3, 3, 32, 32), 255, dtype=torch.uint8)
    found = ms_ssim(torch.cat([dark, light]), ["dark"] * 3 + ["light"] * 3, 20, 0)
    assert found["ms_ssim"] == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="no class has two images"):
        ms_ssim(dark[:2], ["a", "b"], 5, 0)
