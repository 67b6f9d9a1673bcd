"""Batches of each family: their loss is transformers', images stay whole, padding counts for nothing."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dermray.config import ConfigError
from dermray.datasets.decode import decode
from dermray.vlm.tuning.collate import Collator
from dermray.vlm.tuning.conversations import IGNORED, Conversation
from dermray.vlm.tuning.templates import messages_of
from tests.vlm.tuning.conftest import Family, picture

ANSWER = "An asymmetric lesion with an irregular border, red and black."
SHORT = Conversation("a", picture(40, 56), (("What is it?", "Red."),))
LONG = Conversation("b", picture(96, 48, 1), (("Describe the lesion.", ANSWER),))
TWO = Conversation("c", picture(64, 64, 2), (*SHORT.turns, *LONG.turns))
TALKS = [SHORT, LONG, TWO]


def losses_by_hand(family: Family, talk: Conversation) -> Tensor:
    """(T,) of each token of the only answer, from a text that is put together by hand."""
    prompt = family.processor.apply_chat_template(messages_of(talk)[:1], add_generation_prompt=True)
    answer = family.lead + talk.turns[0][1] + family.end
    inputs = [
        family.processor(
            text=text,
            images=[decode(talk.image)],
            return_tensors="pt",
            add_special_tokens=family.name == "llava",  # whose template does not write <s>
        )
        for text in (prompt, prompt + answer)
    ]
    start = inputs[0]["input_ids"].shape[1]
    with torch.no_grad():
        logits = family.model(**inputs[1]).logits[0, start - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, inputs[1]["input_ids"][0, start:], reduction="none")


def test_loss_is_that_of_the_answers_tokens(family: Family) -> None:
    collator = Collator(family.processor)
    single = [losses_by_hand(family, talk) for talk in (SHORT, LONG)]
    with torch.no_grad():
        alone = family.model(**collator([LONG])).loss
        batch = collator([SHORT, LONG])
        together = family.model(**batch).loss
    assert (batch["labels"][:, 1:] != IGNORED).sum() == sum(map(len, single))
    torch.testing.assert_close(alone, single[1].mean(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together, torch.cat(single).mean(), rtol=1e-5, atol=1e-5)


def test_gradient_flows_from_the_answers_alone(family: Family) -> None:
    batch = Collator(family.processor)(TALKS)
    result = family.model(**batch)
    (gradient,) = torch.autograd.grad(result.loss, result.logits)
    said = torch.zeros_like(batch["labels"], dtype=torch.bool)
    said[:, :-1] = batch["labels"][:, 1:] != IGNORED  # a token is told by the place before it
    assert torch.equal(gradient.abs().sum(-1) > 0, said)


def test_padding_is_at_the_right_and_unlabelled(family: Family) -> None:
    batch = Collator(family.processor)(TALKS)
    mask = batch["attention_mask"].bool()
    assert (mask.long().diff(dim=1) <= 0).all() and not mask.all()
    assert (batch["labels"][~mask] == IGNORED).all()
    assert (batch["input_ids"][~mask] == family.processor.tokenizer.pad_token_id).all()
    assert ((batch["labels"] != IGNORED).sum(1) > 0).all()


@pytest.mark.parametrize("side", [None, 40])
def test_lengths_are_those_in_a_batch(family: Family, side: int | None) -> None:
    collator = Collator(family.processor, image_side=side)
    wide = Conversation("d", picture(150, 33, 3), SHORT.turns)
    batch = collator([*TALKS, wide])
    assert [collator.lengths(talk) for talk in (*TALKS, wide)] == batch["attention_mask"].sum(1).tolist()


def test_images_grow_with_their_size_where_the_model_says_so(family_of: Callable[[str], Family]) -> None:
    """Qwen's grids and SmolVLM's tiles; a smaller image_side makes fewer tokens."""
    for name in ("qwen3_vl", "smolvlm"):
        processor = family_of(name).processor
        large = Conversation("e", picture(64, 64), SHORT.turns)
        assert Collator(processor).lengths(large) >= Collator(processor, image_side=32).lengths(large)
    processor = family_of("qwen3_vl").processor
    assert Collator(processor).lengths(large) - Collator(processor, image_side=32).lengths(large) == 16 - 4


def test_the_end_is_cut_and_the_image_is_not(family: Family) -> None:
    whole = Collator(family.processor)([LONG])
    length = whole["input_ids"].shape[1]
    cut = Collator(family.processor, max_length=length - 5)
    batch = cut([LONG, SHORT])
    assert batch["input_ids"].shape[1] == cut.lengths(LONG) == length - 5
    assert torch.equal(batch["input_ids"][0], whole["input_ids"][0, : length - 5])
    assert torch.equal(batch["labels"][0], whole["labels"][0, : length - 5])
    assert family.processor.tokenizer.convert_tokens_to_ids(family.end) not in batch["labels"][0].tolist()
    alone = cut([LONG])
    for name in set(whole) - {"input_ids", "labels", "attention_mask"}:
        shape, place = whole[name].shape, whole["input_ids"].shape
        expected = whole[name][:, : length - 5] if shape[:2] == place else whole[name]
        assert torch.equal(alone[name], expected), name
    assert family.model(**batch).loss.isfinite()


def test_a_question_without_its_answer_is_cut_too(family: Family) -> None:
    whole = Collator(family.processor)([TWO])
    places = (whole["labels"][0] != IGNORED).nonzero().flatten()
    (gap,) = (places.diff() > 1).nonzero().flatten()
    ends, begins = int(places[gap]), int(places[gap + 1])
    for most in (ends + 1, ends + 2, begins):
        batch = Collator(family.processor, max_length=most)([TWO])
        assert batch["input_ids"].shape[1] == ends + 1, "all that is after the last learned token is gone"
    assert Collator(family.processor, max_length=begins + 1)([TWO])["input_ids"].shape[1] == begins + 1
    longer = Conversation("i", TWO.image, ((SHORT.turns[0][0], 3 * ANSWER),))
    batch = Collator(family.processor, max_length=begins)([TWO, longer])
    assert batch["input_ids"].shape[1] == begins > ends + 1, "the cut row is padded"
    assert (batch["labels"][0, ends + 1 :] == IGNORED).all() and not batch["attention_mask"][0, ends + 1 :].any()
    assert (batch["input_ids"][0, ends + 1 :] == family.processor.tokenizer.pad_token_id).all()


def test_no_room_for_an_answer(family: Family) -> None:
    whole = Collator(family.processor)([LONG])
    first = int((whole["labels"][0] != IGNORED).nonzero()[0])
    collator = Collator(family.processor, max_length=first, image_side=None)
    problem = collator.problem(LONG)
    assert problem == f"image and question take {first} tokens of max_length={first}: no room for an answer"
    assert Collator(family.processor, max_length=first + 1).problem(LONG) is None
    with pytest.raises(ConfigError, match="max_length=3: expected more than"):
        Collator(family.processor, max_length=3)


def test_damaged_images_have_a_reason(family_of: Callable[[str], Family]) -> None:
    collator = Collator(family_of("llava").processor)
    damaged = Conversation("f", SHORT.image[:100], SHORT.turns)
    assert collator.problem(damaged) == "truncated or damaged image"
    assert "not an image" in str(collator.problem(Conversation("g", b"text", SHORT.turns)))


def test_sizes_that_the_processor_refuses_have_a_reason(family_of: Callable[[str], Family]) -> None:
    problem = Collator(family_of("qwen3_vl").processor).problem(Conversation("h", picture(2, 500), SHORT.turns))
    assert str(problem).startswith("2 x 500 px: ") and "ratio" in str(problem)


def test_a_tokenizer_without_padding_token(family_of: Callable[[str], Family]) -> None:
    family = family_of("llava")
    processor = copy.copy(family.processor)
    processor.tokenizer = copy.deepcopy(processor.tokenizer)
    processor.tokenizer.pad_token = None
    with torch.no_grad():
        loss = family.model(**Collator(processor)([SHORT, LONG])).loss
        torch.testing.assert_close(loss, family.model(**Collator(family.processor)([SHORT, LONG])).loss)
