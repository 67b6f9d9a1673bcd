"""Paper 000's presets as they stand, over a small GLIDE in files of OpenAI's form: import, train, draw."""

from pathlib import Path

import pytest
import torch

from dermray.config import load, preset
from dermray.generators.glide import Glide
from dermray.generators.glide_import import import_glide
from dermray.synthesis import run as synthesis
from dermray.training import run as training
from tests.generators.glide_files import TINY, write_checkpoints, write_tokenizer


@pytest.mark.slow
def test_from_openais_files_to_images(small_run: Path, tmp_path: Path) -> None:
    imported = import_glide(write_checkpoints(tmp_path), write_tokenizer(tmp_path / "bpe"), tmp_path / "imported", TINY)
    smaller = [
        "loop.steps=2", "loop.epochs=null", "loop.gpus_per_worker=0", "model.image_size=32", "model.base_size=16",
        "model.upsampler_steps=[2,2]", f"model.base={imported}",
    ]  # fmt: skip
    places = [f"output={tmp_path}/train", f"rows={small_run}/caption"]
    trained = training.run(load(training.TrainConfig, preset("train/glide_paper"), [*smaller, *places]))
    assert trained.manifest.metrics["text"]["words"]["limit"] == 128
    assert trained.manifest.metrics["text"]["words"]["unknown_words"] is None, "bytes, of which none is unknown"
    before, after = (torch.load(tmp_path / "base.pt")["out.2.weight"], training.load_generator(trained))
    assert isinstance(after, Glide)
    moved = (after.unet.conv_out.weight - before).abs().flatten(1).amax(1)
    assert (moved[:3] > 0).all() and moved.max() < 1e-4, "at the paper's rate"
    assert (moved[3:] == 0).all(), "as published, variances have no loss"
    few = ["count=4", "sampling_steps=2", "gpus_per_actor=0"]
    places = [f"output={tmp_path}/drawn", f"generator={tmp_path}/train", f"rows={small_run}/caption"]
    drawn = synthesis.run(load(synthesis.SynthesisConfig, preset("generate/glide_paper"), [*few, *places]))
    assert drawn.manifest.rows.rows_in == 4 and drawn.manifest.rows.failed == 0
