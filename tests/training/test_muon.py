"""Muon against timm's, which computes in bfloat16, and against AdamW where it is that."""

import pytest
import timm.optim.muon
import torch
from torch import Tensor, nn

from dermray.train_loop.muon import Muon, orthogonal

OPTIONS = {"lr": 0.02, "betas": (0.9, 0.99), "weight_decay": 0.1}


def moved(optimizer: type[torch.optim.Optimizer], start: list[Tensor], **options: object) -> list[Tensor]:
    """Weights after three steps along the same gradients."""
    weights = [nn.Parameter(tensor.clone()) for tensor in start]
    made, noise = optimizer(weights, **options), torch.Generator().manual_seed(1)  # type: ignore[arg-type]
    for _ in range(3):
        for weight in weights:
            weight.grad = torch.randn(weight.numel(), generator=noise).view(weight.shape)
        made.step()
    return [weight.detach() for weight in weights]


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape) for shape in shapes]


def test_matrices_and_convolutions_move_as_timms_muon_moves_them() -> None:
    start = drawn((24, 24), (16, 48), (48, 16), (24, 24), (16, 8, 3, 3))
    theirs = moved(timm.optim.muon.Muon, start, nesterov=True, **OPTIONS)
    for ours, other, before in zip(moved(Muon, start, **OPTIONS), theirs, start, strict=True):
        assert (ours - other).norm() < 0.02 * (other - before).norm()


def test_all_else_moves_as_adamw_moves_it() -> None:
    start = drawn((24,), (1, 7, 8), (5, 1), ())
    theirs = moved(torch.optim.AdamW, start, **OPTIONS)
    for ours, other in zip(moved(Muon, start, **OPTIONS), theirs, strict=True):
        torch.testing.assert_close(ours, other)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_is_a_matrix(layout: torch.memory_format) -> None:
    [kernel] = drawn((16, 8, 3, 3))
    [flat], [as_kernel] = (
        moved(Muon, [kernel.flatten(1)], **OPTIONS),
        moved(Muon, [kernel.to(memory_format=layout)], **OPTIONS),
    )
    torch.testing.assert_close(as_kernel.flatten(1), flat)


@pytest.mark.parametrize("shape", [(3, 16, 64), (2, 64, 16), (4, 32, 32), (1, 128, 72)])
def test_orthogonal_is_timms_in_single_precision_bit_for_bit(shape: tuple[int, ...]) -> None:
    """Ours is kept for what the import of timm costs each worker: if this fails, there is another reason to look."""
    [matrices] = drawn(shape)
    quintic = timm.optim.muon._COEFFICIENTS["quintic"]
    theirs = timm.optim.muon.zeropower_via_newtonschulz(matrices, len(quintic), quintic, dtype=torch.float32)
    assert torch.equal(orthogonal(matrices), theirs)


def test_singular_values_become_one() -> None:
    for shape in ((3, 16, 64), (2, 64, 16)):
        [matrices] = drawn(shape)
        values = torch.linalg.svdvals(orthogonal(matrices))
        assert values.shape == (shape[0], 16) and values.sub(1).abs().max() < 0.05
    small = torch.diag(torch.tensor([1.0, 0.003, 0.0003]))[None]
    assert torch.linalg.svdvals(orthogonal(small))[0].tolist() == pytest.approx([1.05, 0.98, 0.15], abs=0.05)
