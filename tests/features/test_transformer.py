"""DINOv2 and CLIP, held to transformers, to torch-fidelity's CLIP, and to a preparation written out."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch_fidelity.feature_extractor_clip import build_model

from dermray.features.extractor import check, open_extractor
from dermray.features.settings import ExtractorConfig
from tests.features.tiny_networks import MEAN, SIZE, STD, images


def config(kind: str, folder: Path | str) -> ExtractorConfig:
    return ExtractorConfig.model_validate({"kind": kind, "weights": str(folder)})


def prepared(shown: Tensor) -> Tensor:
    """As the tiny networks' files say, by Pillow and numpy alone: shortest side, central crop, mean and std."""
    parts = []
    for image in shown.permute(0, 2, 3, 1).numpy():
        picture = Image.fromarray(image)
        short = SIZE + 8
        sides = [int(short * side / min(picture.size)) for side in picture.size]
        picture = picture.resize((sides[0], sides[1]), Image.Resampling.BICUBIC)
        left, top = (sides[0] - SIZE) // 2, (sides[1] - SIZE) // 2
        pixels = np.asarray(picture.crop((left, top, left + SIZE, top + SIZE)), np.float64) / 255
        parts.append(torch.from_numpy((pixels - MEAN) / STD).permute(2, 0, 1).float())
    return torch.stack(parts)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (45, 60), (100, 52)])
def test_dinov2_gives_the_class_token_of_transformers(dinov2_folder: Path, height: int, width: int) -> None:
    shown = images(3, height, width)
    model = transformers.AutoModel.from_pretrained(dinov2_folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(dinov2_folder, backend="pil")
    with torch.inference_mode():
        expected = model(**processor(list(shown), return_tensors="pt")).last_hidden_state[:, 0]
        written_out = model(pixel_values=prepared(shown)).pooler_output
    ours = open_extractor(config("dinov2", dinov2_folder))
    assert (ours.name, ours.width) == ("dinov2 ViT-32/8", 32) and ours.logits(shown) is None
    assert torch.allclose(ours(shown), expected, atol=1e-5) and torch.allclose(ours(shown), written_out, atol=1e-4)
    assert (expected[0] - expected[1]).abs().mean() > 0.05


@pytest.mark.parametrize(("height", "width"), [(32, 32), (45, 60), (100, 52)])
def test_clip_gives_the_image_embedding_of_transformers(clip_folder: Path, height: int, width: int) -> None:
    shown = images(3, height, width)
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(clip_folder, backend="pil")
    with torch.inference_mode():
        expected = model.get_image_features(**processor(list(shown), return_tensors="pt")).pooler_output
        written_out = model.get_image_features(pixel_values=prepared(shown)).pooler_output
    ours = open_extractor(config("clip", clip_folder))
    assert (ours.name, ours.width) == ("clip ViT-64/8", 16) and ours.logits(shown) is None
    assert torch.allclose(ours(shown), expected, atol=1e-5) and torch.allclose(ours(shown), written_out, atol=1e-4)
    assert (expected[0] - expected[1]).abs().mean() > 0.05


def openai_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """CLIP's image tower by OpenAI's names, which torch-fidelity reads."""
    tower = "vision_model."
    made = {
        "visual.class_embedding": state[f"{tower}embeddings.class_embedding"],
        "visual.positional_embedding": state[f"{tower}embeddings.position_embedding.weight"],
        "visual.conv1.weight": state[f"{tower}embeddings.patch_embedding.weight"],
        "visual.proj": state["visual_projection.weight"].T,
        "text_projection": torch.zeros(32, 16),  # tells torch-fidelity the embedding's width
    }
    for theirs, ours in (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")):
        made |= {f"visual.{theirs}.{part}": state[f"{tower}{ours}.{part}"] for part in ("weight", "bias")}
    for number in range(2):
        theirs, ours = f"visual.transformer.resblocks.{number}.", f"{tower}encoder.layers.{number}."
        for part in ("weight", "bias"):
            made[f"{theirs}attn.in_proj_{part}"] = torch.cat(
                [state[f"{ours}self_attn.{name}_proj.{part}"] for name in "qkv"]
            )
            made[f"{theirs}attn.out_proj.{part}"] = state[f"{ours}self_attn.out_proj.{part}"]
            made[f"{theirs}mlp.c_fc.{part}"] = state[f"{ours}mlp.fc1.{part}"]
            made[f"{theirs}mlp.c_proj.{part}"] = state[f"{ours}mlp.fc2.{part}"]
            for norm in ("1", "2"):
                made[f"{theirs}ln_{norm}.{part}"] = state[f"{ours}layer_norm{norm}.{part}"]
    return made


def test_clip_is_torch_fidelitys_network_on_the_same_prepared_images(clip_folder: Path) -> None:
    shown = images(3)
    theirs = build_model(openai_names(load_file(clip_folder / "model.safetensors")), torch.float32)
    with torch.inference_mode():
        expected = theirs.visual(prepared(shown))
    assert torch.allclose(open_extractor(config("clip", clip_folder))(shown), expected, atol=1e-4)


def test_a_newer_folder_with_the_preparation_in_the_processors_file(clip_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    old = folder / "preprocessor_config.json"
    about = {"processor_class": "CLIPProcessor", "image_processor": json.loads(old.read_text())}
    (folder / "processor_config.json").write_text(json.dumps(about))
    old.unlink()
    first, second = open_extractor(config("clip", clip_folder)), open_extractor(config("clip", folder))
    assert first.hash == second.hash and torch.equal(first(images()), second(images()))


@pytest.mark.parametrize(("kind", "other"), [("clip", "dinov2"), ("dinov2", "clip")])
def test_another_networks_folder_is_refused(kind: str, other: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(f"{other}_folder")
    with pytest.raises(ValueError, match=f"a model of type '{other}', expected one of {kind}.* for kind {kind}"):
        check(config(kind, folder))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def other_header(file: Path) -> None:
    file.write_bytes(b"<html>no weights</html>" + file.read_bytes())


def without_a_tensor(file: Path) -> None:
    state = load_file(file)
    del state["layernorm.weight"]
    save_file(state, file, {"format": "pt"})


def with_another_shape(file: Path) -> None:
    save_file(load_file(file) | {"layernorm.weight": torch.zeros(5)}, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("name", "spoil", "told"),
    [
        (
            "model.safetensors",
            cut,
            "model.safetensors: cut or damaged, .* its header says .*; copy it again",
        ),
        ("model.safetensors", other_header, "model.safetensors: a web page, not the file that its link leads to"),
        ("model.safetensors", Path.unlink, "none of model.safetensors, .*save_pretrained writes it"),
        ("config.json", Path.unlink, "no transformers folder, since it has no config.json"),
        ("config.json", cut, "config.json: damaged, no JSON .*; copy it again"),
        ("config.json", lambda file: file.write_text("[]"), "config.json: expected a JSON object, got list"),
        ("preprocessor_config.json", Path.unlink, "no preprocessor_config.json, which says how images are prepared"),
        ("preprocessor_config.json", lambda file: file.write_text("{"), "preprocessor_config.json: damaged, no JSON"),
    ],
)
def test_a_damaged_folder_is_told_before_weights_are_read(
    name: str, spoil: Any, told: str, dinov2_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(dinov2_folder, tmp_path / "model")
    spoil(folder / name)
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        check(config("dinov2", folder))


def test_parts_that_an_index_names_must_be_there(dinov2_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    transformers.AutoModel.from_pretrained(dinov2_folder).save_pretrained(folder, max_shard_size="50KB")
    shutil.copy(dinov2_folder / "preprocessor_config.json", folder)
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 1
    whole, divided = (open_extractor(config("dinov2", each)) for each in (dinov2_folder, folder))
    assert whole.hash == divided.hash
    parts[0].unlink()
    with pytest.raises(FileNotFoundError, match=f"1 of the files that .* names are missing, such as {parts[0].name}"):
        check(config("dinov2", folder))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without_a_tensor, "1 tensors of this dinov2 are missing or .*, such as layernorm.weight"),
        (with_another_shape, "1 tensors of .* not of the shape that its config.json says, such as layernorm.weight"),
    ],
)
def test_no_weight_is_left_random(spoil: Any, told: str, dinov2_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(dinov2_folder, tmp_path / "model")
    spoil(folder / "model.safetensors")
    with pytest.raises(ValueError, match=told):
        open_extractor(config("dinov2", folder))


def test_nothing_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="weights=.*/none: no such directory; give a model directory"):
        check(config("clip", tmp_path / "none"))
