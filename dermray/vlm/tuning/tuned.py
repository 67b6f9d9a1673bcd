"""A model in tuning, as the loop calls it: a batch of conversations in, the loss on the answers' tokens out."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional as F

from dermray.vlm.tuning.conversations import IGNORED


@dataclass(frozen=True)
class Inputs:
    """A batch: what the model's forward takes, and how its answers count."""

    tensors: dict[str, Tensor]  # of the collator, without labels
    places: Tensor  # (P,) after which some conversation has a token to say
    said: Tensor  # (B, P) that token, or IGNORED
    tokens: int  # that the loss of the whole batch is a mean over

    @classmethod
    def of(cls, batch: dict[str, Tensor], tokens: int = 1) -> Self:
        """From what a collator made."""
        labels = batch["labels"][:, 1:]  # a token is said by the state of the one before
        places = (labels != IGNORED).any(0).nonzero()[:, 0]
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        return cls(inputs, places, labels[:, places], tokens)

    def moved(self, move: Callable[[Tensor], Tensor]) -> Self:
        """With all tensors as `move` gives them."""
        tensors = {name: move(tensor) for name, tensor in self.tensors.items()}
        return replace(self, tensors=tensors, places=move(self.places), said=move(self.said))


class Tuned(nn.Module):
    """A model of transformers, or peft's around one."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.picks = "logits_to_keep" in inspect.signature(inner.forward).parameters

    def forward(self, inputs: Inputs, share: float) -> Tensor:
        """The sum of the cross-entropy of all tokens that have to be said, over the whole batch's tokens and over the
        share of its conversations that these inputs are.

        Logits are made where an answer is, and not of the image's and question's tokens: at a vocabulary of 262,144
        those of a thousand tokens take a gigabyte.
        """
        if self.picks:
            logits = self.model(**inputs.tensors, logits_to_keep=inputs.places, use_cache=False).logits
        else:
            logits = self.model(**inputs.tensors, use_cache=False).logits[:, inputs.places]
        total = F.cross_entropy(
            logits.float().flatten(0, 1), inputs.said.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        return total / (inputs.tokens * share)

    def generate(self, **how: Any) -> Tensor:
        """Tokens. Every worker has to call it where weights are sharded."""
        model: Any = self.model
        if hasattr(model, "set_requires_gradient_sync"):  # FSDP's, whose import takes a second
            from torch.distributed.fsdp import register_fsdp_forward_method

            register_fsdp_forward_method(model, "generate")
        tokens: Tensor = model.generate(**how)
        return tokens

    def enable_gradient_checkpointing(self) -> None:
        """Activations are computed again, block by block: the loop's switch."""
        self.model.gradient_checkpointing_enable({"use_reentrant": False})  # the other way needs inputs with gradients
