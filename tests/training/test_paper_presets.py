"""Each paper preset that starts from a published base, as it stands but for base, sizes and steps: trained by the
command line, killed by SIGKILL, started again, exported, drawn from, and drawn the same by plain libraries."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dermray import manifest
from dermray.generators.glide_import import import_glide
from dermray.manifest import Result
from dermray.records import read_columns
from tests.conftest import call_cli
from tests.generators.glide_files import TINY, write_checkpoints, write_tokenizer
from tests.generators.published_folders import autoencoder, clip, flux
from tests.generators.stable_diffusion_folders import published
from tests.quickstart import killed_on_the_way
from tests.training import plain

FEW_STEPS = [
    "loop.steps=4", "loop.checkpoint_every=2", "loop.pictures_every=2", "loop.batch_size=4", "loop.gpus_per_worker=0",
    "previews.most=1",
]  # fmt: skip
# A preview is drawn after the checkpoint of step 2: one of so many steps takes longer than it takes to be killed.
ENDLESS, SHORT = "previews.sampling_steps=1000", "previews.sampling_steps=2"


@dataclass
class Preset:
    """What becomes of it here.

    Args:
        base: makes the base in a directory; gives the overrides that name it. generate: the preset that draws.
        draw: the same without dermray's sampling. learned: fails where training has left no trace.
        levels: of 256, by which a pixel may differ.
    """

    base: Callable[[Path], list[str]]
    sizes: list[str]
    generate: str
    draw: Callable[[plain.Drawn], np.ndarray]
    learned: Callable[[Result, Path], None]
    levels: int = 1


def stable_diffusion(directory: Path) -> list[str]:
    return [f"model.base={published(directory)}"]


def half_precision(directory: Path) -> list[str]:
    return [f"model.base={published(directory, variant='fp16')}"]


def one_by_one(directory: Path) -> list[str]:
    return [f"model.vae={autoencoder(directory / 'vae')}", f"model.text_encoder={clip(directory / 'clip')}"]


def dev(directory: Path) -> list[str]:
    return [f"model.base={flux(directory)}", "loop.epochs=null"]


def openai(directory: Path) -> list[str]:
    directory.mkdir()
    files, tokenizer = write_checkpoints(directory), write_tokenizer(directory / "bpe")
    return [f"model.base={import_glide(files, tokenizer, directory / 'imported', TINY)}", "loop.epochs=null"]


def adapters_moved(result: Result, base: Path) -> None:
    """They begin as zeros. At 64 px the middle of the U-Net is one place, which attends to itself whatever it asks."""
    layers = load_file(f"{result.data}/model/pytorch_lora_weights.safetensors")
    still = {name for name, layer in layers.items() if ".lora_B." in name and not layer.any()}
    middle = "unet.mid_block.attentions.0.transformer_blocks.0.attn1."
    assert still <= {f"{middle}{name}.lora_B.weight" for name in ("to_q", "to_k")}


def the_prior_was_drawn_once(result: Result, base: Path) -> None:
    """For both workers and both starts."""
    adapters_moved(result, base)
    [prior] = Path(result.data).glob("samples/*.safetensors")
    assert load_file(prior)["moments"].shape == (2, 8, 8, 8)


def the_unet_moved(result: Result, base: Path) -> None:
    weights = "unet/diffusion_pytorch_model.safetensors"
    before, after = load_file(base / weights), load_file(f"{result.data}/model/{weights}")
    assert all(not torch.equal(before[name], after[name]) for name in before)


def the_last_layer_moved(result: Result, base: Path) -> None:
    weights = load_file(f"{result.data}/model/model.safetensors")
    assert weights["final_layer.linear.weight"].any(), "it begins as zeros"


def anything_moved(result: Result, base: Path) -> None:
    """From scratch: that the losses are the resumed training's says it."""


def variances_were_left_alone(result: Result, base: Path) -> None:
    """As published they have no loss; all else moves at the paper's rate."""
    text = result.manifest.metrics["text"]["words"]
    assert (text["limit"], text["unknown_words"]) == (128, None), "bytes, of which none is unknown"
    before = torch.load(base / "base.pt")["out.2.weight"]
    after = load_file(f"{result.data}/model/base/unet/diffusion_pytorch_model.safetensors")["conv_out.weight"]
    moved = (after - before).abs().flatten(1).amax(1)
    assert (moved[:3] > 0).all() and moved.max() < 1e-4 and (moved[3:] == 0).all()


SMALL = ["model.image_size=64"]
PRIOR = ["model.prior_images=2", "model.prior_steps=2"]
DIT = ["model.width=32", "model.blocks=2", "model.heads=2", "model.text_width=32"]
UNET = (
    "model.unet={sample_size: 8, block_out_channels: [8, 16], layers_per_block: 1, norm_num_groups: 4, "
    "cross_attention_dim: 32, down_block_types: [CrossAttnDownBlock2D, DownBlock2D], up_block_types: [UpBlock2D, "
    "CrossAttnUpBlock2D]}"
)
CASCADE = ["model.image_size=32", "model.base_size=16", "model.upsampler_steps=[2,2]"]
BUCKETS = ["model.image_size=64", "buckets=[32,64]"]
TWO = "loop.workers=2"
PRESETS = {
    "derm_t2im": Preset(
        stable_diffusion, [*SMALL, *PRIOR, TWO], "stable_diffusion", plain.stable_diffusion, the_prior_was_drawn_once
    ),
    "lesiongen": Preset(half_precision, SMALL, "stable_diffusion", plain.stable_diffusion, adapters_moved),
    "dermdiff": Preset(stable_diffusion, SMALL, "stable_diffusion", plain.pipeline, the_unet_moved),
    "flux_lora_paper": Preset(dev, [*BUCKETS, TWO], "flux_lora_paper", plain.flux, adapters_moved),
    "dermdit_paper": Preset(one_by_one, [*SMALL, *DIT], "dermdit_paper", plain.dermdit, the_last_layer_moved),
    # its frozen parts compute in bfloat16, and in its folder they are in full precision
    "latent_diffusion_paper": Preset(one_by_one, [*SMALL, UNET], "nano", plain.pipeline, anything_moved, 4),
    # its first step divides by 5e-5, the root of what is left of an image at t = 999, and rounding shows
    "glide_paper": Preset(openai, CASCADE, "glide_paper", plain.glide, variances_were_left_alone, 16),
}


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("name", PRESETS)
def test_trained_killed_resumed_exported_and_drawn(
    name: str, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset, rows, base = PRESETS[name], f"rows={small_run}/caption", tmp_path / "base"
    places = preset.base(base)
    settings = ["train", "--config", f"train/{name}", rows, *places, *preset.sizes, *FEW_STEPS]
    wrong, refused = f"{places[0].partition('=')[0]}={tmp_path}", tmp_path / "refused"
    code, _, error = call_cli(capsys, *settings, wrong, f"output={refused}")
    assert code == 1 and f"{tmp_path}: expected" in error and not list(refused.glob("data-*/encoded"))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "dermray.cli", *settings, f"output={killed}", ENDLESS]
    killed_on_the_way(command, killed, tmp_path / "log", 400)
    assert not list(killed.rglob("manifest.json"))
    results = []
    for output in (killed, whole):
        code, said, error = call_cli(capsys, *settings, f"output={output}", SHORT)
        assert code == 0, error
        assert ("going on from step 2 of 4" in said) == (output == killed)
        results.append(manifest.read(str(output), "train"))
    resumed, uninterrupted = results
    same_training(resumed, uninterrupted)
    preset.learned(resumed, base)
    assert previews(uninterrupted).keys() == {2, 4}
    assert np.array_equal(previews(resumed)[4], previews(uninterrupted)[4])

    adapter = tmp_path / "adapter.safetensors"
    code, _, error = call_cli(capsys, "export", resumed.uri, str(adapter))
    lora = preset.draw in (plain.flux, plain.stable_diffusion)
    assert (code == 0) == adapter.exists() == lora and (lora or f"{resumed.data}/model" in error)
    drawing = ["count=4", "sampling_steps=4", "gpus_per_actor=0", "actors=1", "batch_size=4"]
    places = [rows, f"generator={killed}", f"output={tmp_path}/drawn"]
    code, _, error = call_cli(capsys, "generate", "--config", f"generate/{preset.generate}", *places, *drawing)
    assert code == 0, error
    columns = ["image", "caption", "seed", "guidance_scale", "sampling_steps", "status"]
    row = read_columns(manifest.read(f"{tmp_path}/drawn", "generate").row_files(), columns).to_pylist()[0]
    # what diffusers makes of kohya's names fits FLUX at FLUX.1's own widths alone
    kohya = [str(adapter)] if preset.draw == plain.stable_diffusion else []
    for file in [f"{resumed.data}/model", *kohya]:
        drawn = plain.Drawn(resumed.manifest.config["model"], f"{resumed.data}/model", file, row)
        assert np.abs(preset.draw(drawn) - drawn.image).max() <= preset.levels, file


def same_training(one: Result, other: Result) -> None:
    """Losses and all saved weights, bit for bit."""
    said, expected = (result.manifest.metrics["training"] for result in (one, other))
    assert (said["resumed_from"], expected["resumed_from"]) == (2, 0)
    assert said["losses"] == expected["losses"] and not any(said["notes_lost"].values())
    files = [{f.relative_to(r.data): f for f in Path(r.data, "model").rglob("*.safetensors")} for r in (one, other)]
    assert files[0].keys() == files[1].keys() != set()
    for name, file in files[0].items():
        mine, theirs = load_file(file), load_file(files[1][name])
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine), name


def previews(result: Result) -> dict[int, np.ndarray]:
    """The picture that TensorBoard shows, by step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = EventAccumulator(f"{result.data}/tensorboard").Reload()
    [tag] = seen.Tags()["images"]
    drawn = {event.step: plain.decoded(event.encoded_image_string) for event in seen.Images(tag)}
    assert all(image.std() > 1 for image in drawn.values()), "not black"
    return drawn
