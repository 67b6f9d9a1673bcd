import numpy as np
import pytest
import torch

from dermray.classification.augmentation import preset
from dermray.classification.batches import InMemory, batches, order
from dermray.classification.settings import TrainingSettings


def test_every_image_comes_equally_often_in_an_order_of_the_seed_and_the_epoch() -> None:
    labels = np.zeros(10, np.int64)
    assert np.bincount(order(labels, 30, 0, 0, False)).tolist() == [3] * 10
    assert sorted(order(labels, 10, 0, 0, False)) == list(range(10))
    assert np.array_equal(order(labels, 25, 1, 2, False), order(labels, 25, 1, 2, False))
    assert not np.array_equal(order(labels, 10, 1, 2, False), order(labels, 10, 1, 3, False))


def test_balanced_sampling_shows_each_class_equally_often() -> None:
    labels = np.repeat([0, 1, 3], [900, 90, 10])
    shown = labels[order(labels, 60_000, 0, 0, True)]
    assert np.bincount(shown)[[0, 1, 3]] / 60_000 == pytest.approx([1 / 3] * 3, abs=0.01)


def taken(loaders: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16), dtype=np.uint8)
    settings = TrainingSettings(epochs=1, batch_size=8, augmentation="standard", loaders=loaders)
    return list(batches(InMemory(images), np.arange(20)[::-1], np.arange(20), 3, 0, 4, settings))


def test_batches_are_the_same_from_any_number_of_processes() -> None:
    before = torch.random.get_rng_state()
    here, there = taken(0), taken(2)
    assert torch.equal(before, torch.random.get_rng_state())
    assert [images.shape for images, _ in here] == [(8, 3, 16, 16)] * 3
    for (images, labels), (other, theirs) in zip(here, there, strict=True):
        assert torch.equal(images, other) and torch.equal(labels, theirs)


def test_labels_stay_with_their_images() -> None:
    images = np.zeros((20, 3, 8, 8), np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None, None]
    settings = TrainingSettings(epochs=1, batch_size=8)
    for shown, labels in batches(InMemory(images), np.arange(20)[::-1], np.arange(20), 3, 0, 4, settings):
        assert torch.equal(shown[:, 0, 0, 0].long(), 19 - labels)


def test_flips_are_the_eight_orientations_drawn_for_each_image() -> None:
    torch.manual_seed(0)
    image = torch.arange(3 * 4 * 4, dtype=torch.uint8).view(1, 3, 4, 4)
    turned = preset("flips", 4)(image.expand(200, 3, 4, 4))
    turns = [torch.rot90(image, k, (2, 3)) for k in range(4)]
    expected = {bytes(each.numpy().tobytes()) for each in [*turns, *(each.flip(3) for each in turns)]}
    assert {bytes(each.numpy().tobytes()) for each in turned} == expected and len(expected) == 8


@pytest.mark.parametrize("name", ["none", "flips", "paper_000", "standard"])
def test_augmented_images_keep_size_kind_and_level(name: str) -> None:
    torch.manual_seed(0)
    images = torch.full((16, 3, 24, 24), 100, dtype=torch.uint8)
    images[:, :, 8:16, 4:10] = 200
    found = preset(name, 24)(images)  # type: ignore[arg-type]  # a name of the list
    assert found.shape == images.shape and found.dtype == torch.uint8
    assert found.float().mean() == pytest.approx(images.float().mean(), abs=12)
    assert torch.equal(found, images) == (name == "none")
    if name == "paper_000":
        assert found.min() >= 95, "what comes in from outside repeats the edge"
