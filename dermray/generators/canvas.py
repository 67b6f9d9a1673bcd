"""Images in the making. Each has all that its drawing depends on, so that they can be drawn in any company.

A step advances many canvases at once, whatever their guidance and wherever each is on its way. What the network is
shown of them are rows: one for a canvas, two where it is guided. Kernels round differently for other numbers of rows,
so bits are the same in any company only where every forward has equally many (`rows`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Canvas:
    """One image.

    Args:
        z: (1, ...), as far as it is drawn. text, no_text: what the network reads of the prompt and of that which
            guidance leads away from, each tensor (1, ...). scale: of guidance; 1 is none. noise: its own source.
        walk: its steps, as its family counts them. side: px. phase: canvases of one side and phase advance together.
    """

    z: Tensor
    text: tuple[Tensor, ...]
    no_text: tuple[Tensor, ...]
    scale: float
    noise: torch.Generator
    walk: Any
    steps: int
    side: int
    phase: str = ""
    step: int = 0  # that is taken next
    kept: dict[str, Tensor] = field(default_factory=dict)  # of an earlier phase

    @property
    def done(self) -> bool:
        """Whether nothing but the pixels is missing."""
        return self.step >= self.steps

    @property
    def kind(self) -> tuple[int, str]:
        """Canvases of one kind advance together."""
        return self.side, self.phase


def put(canvases: Sequence[Canvas], z: Tensor) -> None:
    """Where each stands after its step; z: (B, ...)."""
    for canvas, own in zip(canvases, z.split(1), strict=True):
        canvas.z, canvas.step = own, canvas.step + 1


def in_rows(network: Callable[..., Tensor], rows: int | None, *inputs: Tensor) -> Tensor:
    """A network over (B, ...) inputs, in forwards of exactly `rows` rows; the last one is filled up with its last row.

    A row's bits then do not depend on what is drawn beside it, nor where it stands. None: one forward of them all.
    """
    count = len(inputs[0])
    if rows is None or count == rows:
        return network(*inputs)
    outputs = []
    for start in range(0, count, rows):
        parts = [given[start : start + rows] for given in inputs]
        missing = rows - len(parts[0])
        if missing:
            parts = [torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) for part in parts]
        outputs.append(network(*parts)[: rows - missing])
    return torch.cat(outputs)


def guided(
    network: Callable[..., Tensor], rows: int | None, canvases: Sequence[Canvas], inputs: Sequence[Tensor],
    channels: int | None = None, mix: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Classifier-free guidance (Ho and Salimans 2022): without + scale * (with - without), by each canvas's scale.

    Args:
        network: of `inputs`, then of what is read of texts. inputs: (B, ...) each. channels: so many are guided, the
            others are those with text; None for all. mix: another rule, of velocities with text, without, and scales.
    """
    device, count = inputs[0].device, len(canvases)
    led = [i for i, canvas in enumerate(canvases) if canvas.scale != 1]
    shown = torch.tensor([*range(count), *led], device=device)
    texts = [*(canvas.text for canvas in canvases), *(canvases[i].no_text for i in led)]
    read = [torch.cat(part) for part in zip(*texts, strict=True)]
    out = in_rows(network, rows, *(given[shown] for given in inputs), *read)
    if not led:
        return out
    mixed, without, places = out[:count].clone(), out[count:, :channels], shown[count:]
    scales = torch.tensor([canvases[i].scale for i in led], device=device, dtype=out.dtype)
    scales = scales.view(-1, *[1] * (out.ndim - 1))
    given = mixed[places, :channels]
    mixed[places, :channels] = mix(given, without, scales) if mix else without + scales * (given - without)
    return mixed
