import numpy as np
import torch

from dermray.synthesis.memorization import gate, nearest, orientations

TRAINING = torch.randint(0, 256, (30, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_distance_is_the_root_mean_square_to_the_nearest_orientation() -> None:
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    distances, index = nearest(images, TRAINING)
    for i in range(5):
        by_hand = np.array(
            [
                [((t[i].numpy() / 255.0 - x.numpy() / 255.0) ** 2).mean() ** 0.5 for t in orientations(images)]
                for x in TRAINING
            ]
        )
        assert abs(distances[i] - by_hand.min()) < 1e-4
        assert index[i] == by_hand.min(1).argmin()


def test_a_copy_is_found_however_it_is_turned() -> None:
    for copy in orientations(TRAINING[4:5]):
        distance, index = nearest(copy, TRAINING)
        assert distance[0] < 1e-3 and index[0] == 4


def test_eight_different_orientations() -> None:
    assert len({t.numpy().tobytes() for t in orientations(TRAINING[:1])}) == 8


def test_the_gate_is_a_quantile_of_real_distances() -> None:
    assert gate(np.arange(101) / 100, 0.05) == 0.05
