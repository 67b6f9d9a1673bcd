"""A paper's own preset from captioned rows to what plain diffusers draws, on a base in the published layout."""

import json
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dermray import manifest
from dermray.generators.base import Request
from dermray.training.run import load_generator
from tests.conftest import call_cli
from tests.generators.stable_diffusion_folders import published


@pytest.mark.slow
def test_derm_t2im_is_trained_exported_and_drawn_from(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, rows = published(tmp_path / "base"), f"rows={small_run}/caption"
    sizes = [
        "model.image_size=64", "model.prior_images=2", "model.prior_steps=2", "previews.sampling_steps=2",
        "previews.most=1", "loop.steps=4", "loop.checkpoint_every=2", "loop.batch_size=4", "loop.gpus_per_worker=0",
    ]  # fmt: skip
    train = ["train", "--config", "train/derm_t2im", rows, f"output={tmp_path}/train", *sizes]
    code, _, said = call_cli(capsys, *train, f"model.base={tmp_path}/base/unet")
    assert code == 1 and "model_index.json" in said and not list(tmp_path.glob("train/data-*/encoded"))
    code, said, error = call_cli(capsys, *train, f"model.base={base}", "loop.workers=2")
    assert code == 0, error
    assert "drawing the prior's images" in said
    result = manifest.read(f"{tmp_path}/train")
    [prior] = Path(result.data).glob("samples/*.safetensors")
    assert load_file(prior)["moments"].shape == (2, 8, 8, 8), "drawn once, for both workers"
    assert [step for step, _ in result.manifest.metrics["training"]["losses"]][-1] == 4
    assert not any(result.manifest.metrics["training"]["notes_lost"].values()), "the preview was drawn"

    assert call_cli(capsys, "export", result.uri, f"{tmp_path}/lora.safetensors")[0] == 0
    drawn = [rows, f"generator={tmp_path}/train", f"output={tmp_path}/drawn", "count=4", "sampling_steps=2",
             "gpus_per_actor=0", "batch_size=4"]  # fmt: skip
    code, _, error = call_cli(capsys, "generate", "--config", "generate/stable_diffusion", *drawn)
    assert code == 0, error
    assert manifest.read(f"{tmp_path}/drawn").manifest.config["guidance_scale"] == 7.5

    ours = load_generator(result).float().sample([Request("benign", 3)], 7.5, 3)[0]
    for file in (f"{result.data}/model", f"{tmp_path}/lora.safetensors"):
        pipeline = diffusers.StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
        pipeline.load_lora_weights(file)
        pipeline.scheduler = type(pipeline.scheduler).from_config(
            pipeline.scheduler.config, timestep_spacing="trailing"
        )
        theirs = pipeline(
            "benign", height=64, width=64, guidance_scale=7.5, num_inference_steps=3, output_type="np",
            generator=torch.Generator().manual_seed(3),
        ).images[0]  # fmt: skip
        assert np.abs(np.round(theirs * 255) - ours.permute(1, 2, 0).numpy()).max() <= 1, file
    assert json.loads((Path(result.data) / "model" / "config.json").read_text())["config"]["base"] == base
