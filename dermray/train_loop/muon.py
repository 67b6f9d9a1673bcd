"""Muon for weights that are matrices, AdamW for all others: models that start from scratch learn in fewer steps.

A matrix moves along its momentum made orthogonal, all of whose singular values are about one (Jordan et al. 2024, by
five Newton-Schulz iterations), scaled to the root mean square of an AdamW step (Liu et al. 2025, arXiv:2502.16982,
equation 4), so that learning rate and weight decay mean the same for all weights. A convolution is the matrix
(out, in x height x width); a table of embeddings is a matrix too.

timm's Muon is the same but for its bfloat16: where a CPU has none, a step of the nano generator takes it a second, and
this one 0.05 s. torch's takes no convolutions, and has bfloat16 too. `zeropower_via_newtonschulz` of timm in float32
equals `orthogonal` bit for bit (a test holds it to that) and is about as fast, but its import, which brings torchvision
and all of timm's models along, takes each worker 3 to 13 s.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95  # of Jordan et al. and Liu et al.
ITERATIONS = [  # factors of x, (x x^T) x and (x x^T)^2 x: timm's "quintic", from modded-nanogpt
    (4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037), (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
]  # fmt: skip


class Muon(torch.optim.AdamW):
    """The first group of weights are the matrices, the second all others.

    Args:
        lr, betas, weight_decay: as AdamW's.
    """

    def __init__(self, weights: list[nn.Parameter], lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        kinds = [[w for w in weights if _is_matrix(w) == matrix] for matrix in (True, False)]
        super().__init__([{"params": k} for k in kinds], lr=lr, betas=betas, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """AdamW sees the gradients of the others only."""
        loss = closure() if closure else None
        group, alike = self.param_groups[0], defaultdict(list)
        for weight in (w for w in group["params"] if w.grad is not None):
            alike[weight.flatten(1).shape].append((weight, self._direction(weight)))
            weight.grad = None
        for pairs in alike.values():
            moves = orthogonal(torch.stack([direction for _, direction in pairs]))
            size = 0.2 * max(moves.shape[1:]) ** 0.5  # 0.2: AdamW's root mean square
            for (weight, _), move in zip(pairs, moves, strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(move.reshape(weight.shape), alpha=-group["lr"] * size)
        super().step()
        return loss

    def _direction(self, weight: Tensor) -> Tensor:
        """The gradient after Nesterov's momentum, as a matrix."""
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())  # AdamW expects one of every weight when it is restored
            state["momentum"] = torch.zeros_like(weight)
        gradient = weight.grad
        assert gradient is not None
        state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(state["momentum"], MOMENTUM).flatten(1)


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns) to about the nearest matrices whose singular values are all one; those below 0.003 of a
    matrix' norm stay behind."""
    wide = matrices.shape[1] <= matrices.shape[2]
    x = (matrices if wide else matrices.mT).to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for a, b, c in ITERATIONS:
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.mT).to(matrices.dtype)


def _is_matrix(weight: Tensor) -> bool:
    return weight.ndim > 1 and weight.shape[0] > 1 and weight[0].numel() > 1
