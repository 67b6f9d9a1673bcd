"""The stage on Ray, from captioned rows to an adapter."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dermray import manifest
from dermray.manifest import Result
from dermray.vlm.tuning.bill import dry_run
from dermray.vlm.tuning.run import run
from tests.vlm.tuning.tasks import config_of

Models = Callable[[str], Path]


def tune(run_directory: Path, base: Path, output: Path, **changes: Any) -> Result:
    """The nano captioner on the captions of a run."""
    loop = {"steps": 4, "batch_size": 6, "checkpoint_every": 2, "log_every": 1, "cpus_per_worker": 0.5}
    given = {"output": str(output), "rows": f"{run_directory}/caption", "learn": {"answers": "caption"},
             "parts": ["language_model", "vision_tower"], "samples": 24, "validation_samples": 4}  # fmt: skip
    return run(config_of(base, **given | changes | {"loop": loop | changes.get("loop", {})}))


@pytest.fixture(scope="module")
def tuned(small_run: Path, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return tune(small_run, models("nano"), tmp_path_factory.mktemp("tuned") / "t")


@pytest.mark.slow
def test_rows_are_counted_and_the_adapter_is_pefts(tuned: Result, models: Models, small_run: Path) -> None:
    import peft
    from transformers import AutoModelForImageTextToText, AutoProcessor

    rows, metrics = tuned.manifest.rows, tuned.manifest.metrics
    train = manifest.read(f"{small_run}/caption")
    assert rows.ok == 24 and rows.rows_in == 24 + rows.reasons["rejected: not drawn (samples=24)"] < 160
    assert metrics["base"] == str(models("nano")) and metrics["base_licence"] == "own"
    model = Path(tuned.data) / "model"
    card = (model / "README.md").read_text()
    assert "cc0-1.0-and-own" in card and f"rows of key `{train.manifest.key}`" in card and "Not for diagnosis" in card
    read = peft.PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(models("nano")), str(model))
    trained = {name: p for name, p in read.named_parameters() if "lora_" in name}
    assert sum(p.numel() for p in trained.values()) == metrics["weights"]["trained"]
    assert all(bool(p.any()) for name, p in trained.items() if "lora_B" in name), "it learned"
    assert AutoProcessor.from_pretrained(model).chat_template
    settings = json.loads((model / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(models("nano"))


@pytest.mark.slow
def test_answers_are_in_tensorboard(tuned: Result) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(f"{tuned.data}/tensorboard")
    events.Reload()
    (name,) = [tag for tag in events.Tags()["tensors"] if tag.startswith("answers/")]
    (text,) = events.Tensors(name)[-1].tensor_proto.string_val
    assert b"**Asked:**" in text and b"**Said:**" in text
    assert [step.step for step in events.Scalars("validation/loss")] == [2, 4]


@pytest.mark.slow
def test_two_sharded_workers_learn_what_one_does(
    tuned: Result, small_run: Path, models: Models, tmp_path: Path
) -> None:
    """Shares of three conversations in two parts each: only a mean over all tokens gives one worker's numbers."""
    loop = {"workers": 2, "parallel": "fsdp"}
    both = tune(small_run, models("nano"), tmp_path / "t", loop=loop)
    one, two = (result.manifest.metrics["training"] for result in (tuned, both))
    assert two["workers"] == 2
    for name in ("losses", "validation_losses"):
        torch.testing.assert_close(torch.tensor(one[name]), torch.tensor(two[name]), rtol=1e-4, atol=1e-4)
    from safetensors.torch import load_file

    ours, theirs = (load_file(f"{result.data}/model/adapter_model.safetensors") for result in (tuned, both))
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_what_is_there_is_the_answer_and_what_is_wrong_is_said_first(
    tuned: Result, small_run: Path, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tune(small_run, models("nano"), Path(tuned.uri)).manifest.key == tuned.manifest.key
    import dermray.cluster

    def begin(*where: str) -> None:
        raise AssertionError("Ray was asked for")

    monkeypatch.setattr(dermray.cluster, "connect", begin)
    with pytest.raises(ValueError, match=r"times no pairs"):
        tune(small_run, models("nano"), tmp_path / "a", learn={})
    with pytest.raises(ValueError, match="no licence is stated there"):
        tune(small_run, models("nano"), tmp_path / "b", licence=None)
    with pytest.raises(ValueError, match="result of stage 'train', expected one of"):
        tune(small_run, models("nano"), tmp_path / "c", rows=f"{small_run}/train")
    with pytest.raises(ValueError, match="result of stage 'train', expected one of"):
        dry_run(config_of(models("nano"), rows=f"{small_run}/train"))
    assert not any(os.path.exists(tmp_path / name) for name in "bc")
