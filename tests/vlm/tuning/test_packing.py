"""Conversations in one row: the same loss, and none sees another."""

from collections.abc import Callable

import pytest
import torch

from dermray.vlm.tuning.collate import Collator
from dermray.vlm.tuning.conversations import IGNORED, Conversation
from dermray.vlm.tuning.packing import PACKABLE, packed, refusal
from tests.vlm.tuning.conftest import Family, picture

TALKS = [
    Conversation("a", picture(40, 56), (("What is it?", "Red."), ("Why?", "It is red and not black."))),
    Conversation("b", picture(96, 48, 1), (("Describe the lesion.", "An asymmetric lesion with a border."),)),
    Conversation("c", picture(64, 64, 2), (("Is it even?", "No."),)),
]


@pytest.mark.parametrize("name", ["llava", "smolvlm"])
def test_packed_loss_is_the_unpacked(name: str, family_of: Callable[[str], Family]) -> None:
    family = family_of(name)
    batch = Collator(family.processor)(TALKS)
    row = packed(batch)
    real = batch["attention_mask"].bool()
    assert row["input_ids"].shape == (1, int(real.sum())) and not real.all()
    with torch.no_grad():
        apart, together = family.model(**batch), family.model(**row)
    torch.testing.assert_close(together.loss, apart.loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together.logits[0], apart.logits[real], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["llava", "smolvlm"])
def test_no_conversation_sees_another(name: str, family_of: Callable[[str], Family]) -> None:
    """With another image and words in another order in the first, logits of the rest are the same."""
    family = family_of(name)
    row = packed(Collator(family.processor)(TALKS))
    length = int((row["position_ids"][0, 1:] == 0).nonzero()[0]) + 1
    other = {name: value.clone() for name, value in row.items()}
    other["pixel_values"][0] += 1.0
    other["input_ids"][0, length - 8 : length - 1] = row["input_ids"][0, length - 8 : length - 1].flip(0)
    with torch.no_grad():
        before, after = family.model(**row).logits[0], family.model(**other).logits[0]
    assert not torch.allclose(before[:length], after[:length], atol=1e-4)
    torch.testing.assert_close(before[length:], after[length:], rtol=0, atol=1e-6)


def test_positions_and_labels_begin_anew(family_of: Callable[[str], Family]) -> None:
    batch = Collator(family_of("llava").processor)(TALKS)
    batch["labels"][:, 0] = batch["input_ids"][:, 0]  # as of a template that begins with the answer
    row = packed(batch)
    starts = row["position_ids"][0] == 0
    assert starts.sum() == len(TALKS)
    assert (row["labels"][0, starts] == IGNORED).all()


def test_padding_at_the_left_is_refused() -> None:
    batch = {"input_ids": torch.ones(1, 3), "labels": torch.ones(1, 3), "attention_mask": torch.tensor([[0, 1, 1]])}
    with pytest.raises(ValueError, match="padding at the right"):
        packed(batch)


def test_who_cannot_be_packed() -> None:
    assert all(refusal(name) is None for name in PACKABLE)
    assert "mrope" in str(refusal("qwen3_vl"))
    assert "cross-attention" in str(refusal("mllama"))
    assert "nobody checked" in str(refusal("llava_next"))
    assert "expected 'sdpa'" in str(refusal("llava", "eager"))
    assert refusal("gemma3") is not None
