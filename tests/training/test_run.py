"""A generator learning from buckets, without Ray."""

import pytest
import torch

from dermray.generators.base import Generator
from dermray.train_loop import LoopConfig, State
from dermray.training.run import GeneratorTask

MODELS = {
    "flux_lora": {"image_size": 32, "rank": 4, "max_sequence_length": 16},
    "stable_diffusion_lora": {"image_size": 32, "rank": 4},
    "latent_diffusion": {"image_size": 32},
}


@pytest.mark.parametrize("name", list(MODELS))
def test_a_family_of_any_size_learns_from_both(two_sizes: str, name: str) -> None:
    loop = LoopConfig(steps=4, batch_size=4)
    task = GeneratorTask(name, MODELS[name], two_sizes, loop.model_dump(), True)
    state = State(task.build(), loop)
    assert isinstance(state.module, Generator)
    shown = []
    while state.step < loop.steps:
        [batch] = task.arguments(state.module, state.step, 0, 1, 0)
        shown.append(tuple(batch["moments"].shape[2:]))
        assert state.advance(task, state.module, 0, 1) > 0
    assert sorted(shown) == [(4, 4), (4, 4), (8, 8), (8, 8)], "each batch has one size, an epoch has both"


def test_flux_draws_more_noise_for_larger_images(two_sizes: str) -> None:
    """Its sampler's steps are shifted by the number of tokens; the noise levels of training are as well."""
    task = GeneratorTask("flux_lora", MODELS["flux_lora"], two_sizes, LoopConfig(steps=1).model_dump(), True)
    module = task.build()
    levels = []
    for side in (4, 128):
        torch.manual_seed(0)
        levels.append(module.draw_sigmas(torch.zeros(512, 4, side, side)))  # type: ignore[operator]
    assert (levels[1] > levels[0]).all()
