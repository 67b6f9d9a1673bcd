"""Each flow family's nano preset as a user types it but for size and steps: trained, drawn from, exported.

What a family does by itself, without Ray, is in tests/generators/flow_lora.py: its loss, its encoding ahead, its file
in diffusers and in ComfyUI. So CI goes from rows to a file with two of them, and `make soak` with the others.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dermray import manifest
from dermray.generators.base import FAMILIES, Request, family
from dermray.generators.flow_family import FlowFamily
from dermray.generators.flow_lora import FlowLora
from dermray.generators.sdxl_lora import SdxlLora
from dermray.training.run import load_generator
from tests.conftest import call_cli

NAMES = [
    name for name in FAMILIES if issubclass(family(name), FlowLora | SdxlLora) and name != "flux_lora"
]  # test_precompute has it
IN_CI = ("sd3_lora", "sdxl_lora")  # a transformer with idle layers and several encoders, and a U-Net
FEW = ["model.image_size=32", "loop.steps=4", "loop.batch_size=8", "loop.workers=1", "loop.checkpoint_every=2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in IN_CI else pytest.mark.soak) for name in NAMES]
)
def test_from_captioned_rows_to_a_file(
    name: str, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset, output = f"train/{name}_nano", f"{tmp_path}/train"
    previews = ["previews.most=1", "previews.sampling_steps=2", "loop.pictures_every=4"]
    if family(name).negative_prompts:
        previews.append("previews.negative_prompt=a ruler")
    places = [f"rows={small_run}/caption", f"output={output}"]
    code, said, error = call_cli(capsys, "train", "--config", preset, *places, *FEW, *previews)
    assert code == 0, error
    result = manifest.read(output, "train")
    weights = load_file(f"{result.data}/model/pytorch_lora_weights.safetensors")
    zeros = [key for key in weights if ".lora_B." in key and not weights[key].any()]  # all began as such
    idle = ["transformer_blocks.2.attn.add_q_proj"] if name == "sd3_lora" else []  # whose results nobody reads
    assert [key.removeprefix("transformer.").removesuffix(".lora_B.weight") for key in zeros] == idle
    card = Path(result.data, "model", "README.md").read_text()
    assert f"load_lora_weights(directory)` in diffusers' {family(name).Pipeline.__name__}" in card
    drawn = load_generator(result).sample([Request("benign", 1)], 2.0, 2)
    assert drawn.shape == (1, 3, 32, 32) and drawn.float().std() > 1
    code, said, error = call_cli(capsys, "export", result.uri, f"{tmp_path}/adapter.safetensors")
    if getattr(family(name), "to_kohya", None) is FlowFamily.to_kohya:  # a U-Net has a layout in another way
        assert code == 1 and "no layout for ComfyUI is defined" in error
    else:
        assert code == 0 and "MB" in said, error
    assert torch.isfinite(torch.cat([value.flatten() for value in weights.values()])).all()
