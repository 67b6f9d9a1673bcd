"""Tuning in the loop: the loss is transformers' own over the tokens of a whole batch, and a stop leaves no trace."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from dermray.train_loop import State
from dermray.train_loop.checkpoint import restore, save
from dermray.train_loop.settings import images_of
from dermray.vlm.tuning.task import VlmTask
from dermray.vlm.tuning.tuned import Inputs, Tuned
from tests.vlm.tuning.tasks import phantoms, task_of
from tests.vlm.tuning.tiny import FAMILIES

Models = Callable[[str], Path]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_is_that_of_transformers(name: str, models: Models, tmp_path: Path) -> None:
    """Over all tokens of the batch, its num_items_in_batch; logits made at the answers alone change nothing."""
    task = task_of(models(name), tmp_path / "t", loop={"batch_size": 4, "accumulate": 1})
    whole = AutoModelForImageTextToText.from_pretrained(models(name)).eval()
    batch = task.tokens.batch(task._conversations.read(np.arange(4)))
    with torch.no_grad():
        theirs = whole(**batch).loss
        ours = Tuned(whole)(Inputs.of(batch, task._conversations.learned(np.arange(4))), 1.0)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_shares_and_parts_give_the_gradient_of_the_whole_batch(models: Models, tmp_path: Path) -> None:
    """Answers differ in length and shares in size, so a mean of means would be another number."""
    task = task_of(models("nano"), tmp_path / "t", by_length=False, loop={"batch_size": 7, "accumulate": 2})
    module = task.build().eval()
    whole = task_of(models("nano"), tmp_path / "w", by_length=False, loop={"batch_size": 7, "accumulate": 1})
    module(*whole.arguments(module, 1, 0, 1, 0)).backward()
    expected = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    lengths = {task._conversations.learned(np.array([i])) for i in range(16)}
    assert len(lengths) > 1 and expected
    for workers in (1, 2, 3):
        module.zero_grad()
        for rank in range(workers):
            for part in range(2):  # as State.advance weighs them; DDP takes the mean over workers
                weight = workers * images_of(task.loop, rank, workers, part) / task.loop.batch_size
                loss = module(*task.arguments(module, 1, rank, workers, part))
                (loss * weight / workers).backward()
        found = [p.grad for p in module.parameters() if p.grad is not None]
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def trained(task: VlmTask, stop: int | None, directory: Path) -> State:
    """`steps` steps, with everything thrown away and restored after step `stop`."""
    torch.manual_seed(task.loop.seed)
    state = State(task.build().train(), task.loop)
    while state.step < task.loop.steps:
        state.advance(task, state.module, 0, 1)
        if state.step == stop:
            directory.mkdir()
            task.validation_loss(state.module)
            task.words(state.module)
            save(state, directory, 0)
            torch.manual_seed(task.loop.seed)
            task = VlmTask(task.settings, task.tokens, task.training, task.validation)
            state = State(task.build().train(), task.loop)
            torch.manual_seed(12345)
            restore(state, directory)
    return state


CASES: list[tuple[str, dict[str, Any]]] = [
    ("nano", {"lora": {"rank": 4, "dropout": 0.2}}),
    ("nano", {"method": "full", "parts": ["language_model", "projector"], "loop": {"precision": "bf16"}}),
    ("smolvlm", {"packing": True, "parts": ["vision_tower", "language_model"]}),
    ("gemma3", {"lora": {"dropout": 0.2}, "dtype": "bf16",
                "loop": {"precision": "bf16", "gradient_checkpointing": True}}),
    ("qwen3_vl", {"parts": ["language_model", "vision_tower", "projector"]}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_resumed_equals_uninterrupted_bit_for_bit(
    name: str, changes: dict[str, Any], models: Models, tmp_path: Path
) -> None:
    task = task_of(models(name), tmp_path / "t", **changes)
    stop = int(np.random.default_rng().integers(1, 4))
    whole, resumed = trained(task, None, tmp_path / "x"), trained(task, stop, tmp_path / "saved")
    assert whole.step == resumed.step == 4 and len(whole.trained) > 0
    assert all(torch.equal(a, b) for a, b in zip(whole.trained, resumed.trained, strict=True)), f"stopped at {stop}"
    for a, b in zip(whole.optimizer.state.values(), resumed.optimizer.state.values(), strict=True):
        assert a.keys() == b.keys() and all(torch.equal(*map(torch.as_tensor, (a[key], b[key]))) for key in a)
    torch.manual_seed(task.loop.seed)
    fresh = task.build()
    frozen = {name: p for name, p in fresh.named_parameters() if not p.requires_grad}
    assert all(torch.equal(p, frozen[name]) for name, p in whole.module.named_parameters() if name in frozen)
    saved = torch.load(tmp_path / "saved" / "state.pt", weights_only=True)
    assert not saved["module"].keys() & frozen.keys(), "frozen weights are in no checkpoint"
    before = [p for p in fresh.parameters() if p.requires_grad]
    assert any(not torch.equal(a, b) for a, b in zip(before, whole.trained, strict=True)), "it learned"


def test_activations_computed_again_give_the_same_gradient(models: Models, tmp_path: Path) -> None:
    task = task_of(models("llava"), tmp_path / "t", parts=["language_model", "vision_tower"])
    torch.manual_seed(0)
    module = task.build().train()
    for weight in module.parameters():
        if weight.requires_grad:
            weight.data.normal_(std=0.1)  # a new adapter's B is zero, and then so is A's gradient

    def gradients() -> list[torch.Tensor]:
        module.zero_grad()
        module(*task.arguments(module, 0, 0, 1, 0)).backward()
        return [p.grad.clone() for p in module.parameters() if p.grad is not None]

    kept = gradients()
    assert isinstance(module, Tuned)
    module.enable_gradient_checkpointing()
    again = gradients()
    assert len(kept) == len(again) > 0 and all(float(g.abs().sum()) for g in kept)
    for ours, theirs in zip(again, kept, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_packed_and_padded_batches_have_one_loss(models: Models, tmp_path: Path) -> None:
    padded = task_of(models("llava"), tmp_path / "p")
    row = task_of(models("llava"), tmp_path / "q", packing=True)
    module = padded.build().eval()
    losses = [module(*task.arguments(module, 0, 0, 1, 0)).item() for task in (padded, row)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_what_is_held_out_is_measured_over_its_tokens_and_read(models: Models, tmp_path: Path) -> None:
    task = task_of(models("nano"), tmp_path / "t", answers=2, answer_tokens=5)
    module = task.build().train()
    model = AutoModelForImageTextToText.from_pretrained(models("nano")).eval()
    batch = task.tokens.batch(task._held_out.read(np.arange(3)))
    draws = torch.get_rng_state()
    with torch.no_grad():
        expected = float(model(**batch).loss)
    assert task.validation_loss(module) == pytest.approx(expected, rel=1e-5)
    said = task.words(module)
    assert module.training and torch.equal(draws, torch.get_rng_state())
    assert list(said) == [f"answers/{sample[:12]}" for sample in sorted(phantoms(3)["sample_id"].to_pylist())[:2]]
    assert all(text.startswith("**Asked:** This is an image containing a lesion") for text in said.values())
    assert all("**Expected:** red and black" in text and "**Said:**" in text for text in said.values())
