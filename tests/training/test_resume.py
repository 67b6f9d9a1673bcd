"""Every family, stopped at any step and gone on with in new objects, ends with the weights of an uninterrupted run."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dermray.generators.base import FAMILIES, Generator, family
from dermray.train_loop import LoopConfig, State
from dermray.train_loop.checkpoint import restore, save
from dermray.train_loop.settings import Hopeless
from dermray.training.order import Order
from tests.generators.conftest import FLOW_LORA

CAPTIONS = ["malignant, skin tone B: asymmetric lesion, irregular border, black.", "benign, skin tone A: red.",
            "benign, skin tone C: symmetric lesion.", "malignant, skin tone A: white and red."]  # fmt: skip
SMALL: dict[str, dict[str, Any]] = {
    "stable_diffusion_lora": {"image_size": 32, "rank": 4, "prior_prompt": "skin", "prior_images": 2, "prior_steps": 1},
    "stable_diffusion": {"image_size": 32},
    "latent_diffusion": {"image_size": 32, "min_snr_gamma": 5.0},
    "dermdit": {"image_size": 64, "learned_sigma": True},
    "pixel_dermdit": {"image_size": 16, "stem_width": 8, "width": 32, "blocks": 1},
    "glide": {"image_size": 32},
}


@dataclass
class FewImages:
    """Four images of noise, in the order that training has."""

    name: str
    loop: LoopConfig
    unused_parameters: bool = False
    model: dict[str, Any] = field(default_factory=dict)  # beside what makes it small

    def build(self) -> nn.Module:
        cls = family(self.name)
        torch.manual_seed(self.loop.seed)
        config = cls.Config(**SMALL.get(self.name, FLOW_LORA) | self.model)
        made = cls.from_captions(config, CAPTIONS)
        if cls.prior_by(config) is not None:
            made.keep_prior(cls.encoder(config, CAPTIONS).draw_prior())
        return made

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        assert isinstance(module, Generator)
        _, share = Order([len(CAPTIONS)], self.loop.batch_size, self.loop.seed).share(step, rank, workers)
        index = share[part :: self.loop.accumulate]
        images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, *[module.image_size] * 2), np.uint8))
        return (module.collate(module.encode(images[index], [CAPTIONS[i] for i in index])),)

    def describe(self, step: int, rank: int, workers: int, part: int) -> list[str]:
        return [str(step)]

    def validation_loss(self, module: nn.Module) -> float | None:
        return None

    def pictures(self, module: nn.Module) -> dict[str, Tensor]:
        return {}

    def words(self, module: nn.Module) -> dict[str, str]:
        return {}

    def scores(self, pictures: dict[str, Tensor]) -> dict[str, float]:
        return {}

    def save(self, module: nn.Module, directory: Path) -> None:
        assert isinstance(module, Generator)
        module.save(directory)


def trained(task: FewImages, stop: int | None, directory: Path) -> State:
    """`steps` steps, with everything thrown away and restored after step `stop`."""
    state = State(task.build(), task.loop)
    while state.step < task.loop.steps:
        state.advance(task, state.module, 0, 1)
        if state.step == stop:
            directory.mkdir()
            save(state, directory, 0)
            torch.manual_seed(12345)
            state = State(task.build(), task.loop)
            restore(state, directory)
    return state


@pytest.mark.parametrize(
    ("name", "optimizer", "model"),
    [
        *((name, "adamw", {}) for name in FAMILIES),
        *(("pixel_dermdit", name, {}) for name in ("muon", "prodigy", "lion")),
        *(("flux_lora", "adamw", {"adapter": kind, "lokr_factor": 4}) for kind in ("dora", "lokr")),
    ],
)
def test_resumed_equals_uninterrupted_bit_for_bit(
    name: str, optimizer: str, model: dict[str, Any], tmp_path: Path
) -> None:
    settings = {"steps": 4, "batch_size": 4, "accumulate": 2, "warmup_steps": 2, "schedule": "cosine"}
    rate = {} if optimizer == "prodigy" else {"learning_rate": 1e-2}
    loop = LoopConfig.model_validate(settings | {"optimizer": optimizer} | rate)
    task = FewImages(name, loop, model=model)
    stop = int(np.random.default_rng().integers(1, 4))
    whole, resumed = trained(task, None, tmp_path / "x"), trained(task, stop, tmp_path / "saved")
    assert whole.step == resumed.step == 4 and len(whole.trained) == len(whole.ema) > 0
    pairs = zip([*whole.trained, *whole.ema], [*resumed.trained, *resumed.ema], strict=True)
    assert all(torch.equal(a, b) for a, b in pairs), f"stopped at {stop}"
    for a, b in zip(whole.optimizer.state.values(), resumed.optimizer.state.values(), strict=True):
        assert a.keys() == b.keys() and all(torch.equal(*map(torch.as_tensor, (a[key], b[key]))) for key in a)
    for one, other in zip(whole.optimizer.param_groups, resumed.optimizer.param_groups, strict=True):
        assert {k: v for k, v in one.items() if k != "params"} == {k: v for k, v in other.items() if k != "params"}
    saved = torch.load(tmp_path / "saved" / "state.pt", weights_only=True)
    frozen = {name for name, p in whole.module.named_parameters() if not p.requires_grad}
    assert not saved["module"].keys() & frozen, "frozen weights are in no checkpoint"
    fresh = State(task.build(), loop)
    assert any(not torch.equal(a, b) for a, b in zip(fresh.trained, whole.trained, strict=True)), "it learned"


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_parts_give_the_gradient_of_the_whole(accumulate: int) -> None:
    """The loss of a line is a mean over images, so means of equal parts are the mean of all."""

    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return (x @ self.weight).square().mean()

    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))

    class Task(FewImages):
        def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
            return (x[part :: self.loop.accumulate],)

    moved = []
    for parts in (1, accumulate):
        state = State(Line(), LoopConfig(steps=3, batch_size=8, accumulate=parts, warmup_steps=1))
        for _ in range(3):
            state.advance(Task("", state.config), state.module, 0, 1)
        moved.append(state.trained[0].detach())
    torch.testing.assert_close(*moved)


def test_half_precision_keeps_weights_whole() -> None:
    task = FewImages("pixel_dermdit", LoopConfig(steps=2, batch_size=4, precision="bf16"))
    state = State(task.build(), task.loop)
    assert [state.advance(task, state.module, 0, 1) for _ in range(2)]
    assert {weight.dtype for weight in state.trained} == {torch.float32}


def test_frozen_weights_cost_no_memory_of_the_optimiser_or_average() -> None:
    state = State(FewImages("flux_lora", LoopConfig(steps=1)).build(), LoopConfig(steps=1))
    everything = sum(p.numel() for p in state.module.parameters())
    assert sum(p.numel() for p in state.trained) == sum(p.numel() for p in state.ema) < 0.5 * everything
    assert all(".lora_" in name for name, p in state.module.named_parameters() if p.requires_grad)


def test_a_family_that_cannot_recompute_activations_says_so() -> None:
    loop = LoopConfig(steps=1, gradient_checkpointing=True)
    with pytest.raises(ValueError, match="gradient_checkpointing: this family has no part"):
        State(FewImages("pixel_dermdit", loop).build(), loop)
    for name in ("flux_lora", "latent_diffusion", "dermdit", "glide"):
        task = FewImages(name, loop.model_copy(update={"batch_size": 4}))
        state = State(task.build(), task.loop)
        assert state.advance(task, state.module, 0, 1) > 0


def test_another_seed_starts_from_other_weights() -> None:
    for name in ("flux_lora", "latent_diffusion", "dermdit"):
        first, second = (
            State(FewImages(name, LoopConfig(steps=1, seed=s)).build(), LoopConfig(steps=1)) for s in (0, 1)
        )
        assert any(not torch.equal(a, b) for a, b in zip(first.trained, second.trained, strict=True)), name


def test_a_loss_that_is_no_number_names_its_own_images() -> None:
    class Noted(nn.Module):
        """The third image has no loss."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            losses = self.weight * torch.tensor([1.0, 2.0, float("nan"), 3.0])
            self.seen = torch.zeros(4), losses.detach()
            return losses.mean()

    class Task(FewImages):
        def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
            return (torch.zeros(4),)

        def describe(self, step: int, rank: int, workers: int, part: int) -> list[str]:
            return ["a", "b", "c", "d"]

    loop = LoopConfig(steps=1, batch_size=4)
    state = State(Noted(), loop)
    with pytest.raises(Hopeless, match="loss is nan at step 0 on samples c$"):
        state.advance(Task("", loop), state.module, 0, 1)
