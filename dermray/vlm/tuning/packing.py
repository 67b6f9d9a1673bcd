"""Conversations of a batch in one row without padding, none of which sees another: block-diagonal attention.

Positions begin anew with each conversation, and a 4-D mask lets a token see what came before it in its own.
"""

import torch
from torch import Tensor

from dermray.vlm.tuning.conversations import IGNORED

# Whose images are embedded in the places of their tokens, in order, and whose positions are one number a token.
PACKABLE = ("llava", "idefics3", "smolvlm")
REASONS = {
    "gemma3": "its attention within an image is made from the mask of a padded batch, and its windows slide",
    "mllama": "its images are seen by cross-attention, which a block of the row's mask does not part",
}
MROPE = "its positions have three axes, which follow the images' grids (mrope) and cannot begin anew in a row"


def refusal(model_type: str, attention: str = "sdpa") -> str | None:
    """Why conversations of a model cannot be packed, or None.

    Args:
        model_type: as its config.json says. attention: implementation that it runs with.
    """
    if model_type not in PACKABLE:
        known = MROPE if model_type.startswith("qwen") else REASONS.get(model_type, "nobody checked it for this model")
        return f"packing with {model_type}: {known}; expected one of {PACKABLE}, or packing: false"
    if attention != "sdpa":  # the eager one adds the mask, and flash attention takes none
        return f"packing with attention {attention!r}: expected 'sdpa', which takes a mask for each pair of tokens"
    return None


def packed(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch of the collator as one row of all its tokens, for models that `refusal` lets pass.

    Returns:
        input_ids, labels and position_ids (1, N), attention_mask (1, 1, N, N) bool, true where a token (third axis)
        sees another; the images as they were.
    """
    real = batch["attention_mask"].bool()  # (B, L)
    if not bool((real.long().diff(dim=1) <= 0).all()):
        raise ValueError("packed: expected padding at the right")
    labels = batch["labels"].clone()
    labels[:, 0] = IGNORED  # nothing before it to tell it from
    rows = {"input_ids": batch["input_ids"], "labels": labels}
    position = (real.long().cumsum(1) - 1)[real]  # (N,)
    conversation = torch.arange(len(real), device=real.device)[:, None].expand_as(real)[real]
    sees = (conversation[:, None] == conversation) & (position[:, None] >= position)
    others = {
        name: value[real][None] if value.shape[:2] == real.shape else value
        for name, value in batch.items()
        if name not in ("attention_mask", *rows)
    }
    return {
        **{name: value[real][None] for name, value in rows.items()},
        **others,
        "position_ids": position[None],
        "attention_mask": sees[None, None],
    }
