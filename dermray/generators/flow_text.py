"""Texts of flow families: read, side by side, left out."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from dermray.generators.base import Batch, Sample


def device_of(part: nn.Module) -> torch.device:
    """Where a model's weights are."""
    return next(part.parameters()).device


def without_captions(text: Batch, nothing: Sample, share: float, ragged: Collection[str]) -> Batch:
    """Texts, each replaced by no text with probability `share`, all of its tensors named in `nothing` together.

    Args:
        text: collated. nothing: of one text. ragged: names whose texts differ in length.
    """
    shown: Batch = {}
    some = text[next(iter(nothing))]
    dropped = (torch.rand(len(some)) < share).to(some.device)
    for name, none in nothing.items():
        if name not in ragged:
            shown[name] = _chosen(dropped, none[None], text[name])
            continue
        mask = torch.ones(len(none), dtype=torch.bool, device=none.device)
        for key, given, own in ((name, text[name], none), (f"{name}_mask", text[f"{name}_mask"], mask)):
            length = max(given.shape[1], len(own))
            shown[key] = _chosen(dropped, _longer(own[None], length), _longer(given, length))
    return shown


def trimmed(text: Batch, ragged: Collection[str]) -> Batch:
    """Without what is padding in all rows. The host waits for it."""
    cut = dict(text)
    for name in ragged:
        length = max(_lengths(text[f"{name}_mask"]))
        cut |= {key: text[key][:, :length] for key in (name, f"{name}_mask")}
    return cut


def unpadded(rows: Tensor, mask: Tensor) -> list[Tensor]:
    """Rows (B, T, D) by themselves, each (its length, D). The host waits for it."""
    return [row[:length] for row, length in zip(rows, _lengths(mask), strict=True)]


def side_by_side(texts: list[Batch], ragged: Collection[str]) -> list[Batch]:
    """Texts of one row each, all padded to the longest, so that they can be concatenated."""
    padded = [dict(text) for text in texts]
    for name in ragged:
        length = max(text[name].shape[1] for text in texts)
        for text in padded:
            text |= {key: _longer(text[key], length) for key in (name, f"{name}_mask")}
    return padded


def _lengths(mask: Tensor) -> list[int]:
    """Of a mask (B, T). No text has none: a row of zeros is one whose numbers are not there, as in a dry run."""
    return [length or mask.shape[1] for length in mask.sum(1).tolist()]


def _longer(rows: Tensor, length: int) -> Tensor:
    """(B, T, ...) with zeros up to `length`."""
    missing = length - rows.shape[1]
    return rows if not missing else torch.cat([rows, rows.new_zeros(len(rows), missing, *rows.shape[2:])], 1)


def _chosen(dropped: Tensor, none: Tensor, given: Tensor) -> Tensor:
    return torch.where(dropped.view(-1, *[1] * (given.ndim - 1)), none.to(given.dtype), given)
