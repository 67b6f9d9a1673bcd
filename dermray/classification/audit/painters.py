"""What draws an audit's pictures: a trained generator, or the phantoms' renderer, whose truth is known."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dermray.classification.audit.lesions import Version, truth_of, with_tone
from dermray.datasets.renderer import render
from dermray.generators.base import Generator, Request

Painter = Callable[[list[dict[str, Any]], list[list[Version]]], list[np.ndarray]]
"""Lines of the plan and the versions of each to all pictures in this order, (S, S, 3) uint8."""


def by_generator(generator: Generator, guidance_scale: float, sampling_steps: int) -> Painter:
    """Pictures by words, all of a block together."""

    def paint(lesions: list[dict[str, Any]], wanted: list[list[Version]]) -> list[np.ndarray]:
        requests = [Request(version.prompt, version.seed) for of_lesion in wanted for version in of_lesion]
        images = generator.sample(requests, guidance_scale, sampling_steps)
        return list(images.permute(0, 2, 3, 1).numpy())

    return paint


def by_renderer(seed: int, size: int) -> Painter:
    """Phantoms of `size` px: a lesion's truth stays, its skin is what the prompt names."""

    def paint(lesions: list[dict[str, Any]], wanted: list[list[Version]]) -> list[np.ndarray]:
        return [
            render(with_tone(truth_of(lesion["lesion"], seed), version.prompt), version.seed, size).image
            for lesion, of_lesion in zip(lesions, wanted, strict=True)
            for version in of_lesion
        ]

    return paint
