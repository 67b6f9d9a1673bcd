"""Frozen parts that are not there, not whole, of another kind or of other sizes: one sentence, before any is loaded."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from dermray import storage
from dermray.generators.base import family
from tests.generators.published_folders import autoencoder, clip, flux
from tests.generators.stable_diffusion_folders import WIDTH, published

FAMILIES = {"dermdit": {"text_width": WIDTH}, "latent_diffusion": {}}
BOTH = pytest.mark.parametrize("name", list(FAMILIES))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, `vae`, `clip` and `flux` as published, but files of weights have none: whoever reads them fails."""
    directory = tmp_path_factory.mktemp("published")
    published(directory / "base")
    for name, made in (("vae", autoencoder), ("clip", clip), ("flux", flux)):
        made(directory / name)
    for file in directory.rglob("*.safetensors"):
        file.write_bytes(save({}))
    for file in directory.rglob("*.bin"):
        torch.save({}, file)
    return directory


def check(name: str, **places: Any) -> None:
    cls = family(name)
    cls.check_start(cls.Config(**FAMILIES[name] | places))


@BOTH
def test_parts_as_published_are_taken(name: str, folders: Path) -> None:
    check(name)
    check(name, base="some/hub-id", vae="another/hub-id")
    check(name, base=str(folders / "base"))
    check(name, base=str(folders / "base"), vae=str(folders / "vae"))
    check(name, vae=str(folders / "vae"), text_encoder=str(folders / "clip"))


@BOTH
@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("vae", "with a folder vae, config.json and weights inside; there is no config.json"),
        ("vae/diffusion_pytorch_model.safetensors", "with a folder vae, .*; there are no weights; copy all"),
        ("text_encoder/config.json", "with a folder text_encoder, .*; there is no config.json"),
        ("tokenizer", "with a folder tokenizer, a tokenizer inside; there is no tokenizer.json or vocab.json"),
    ],
)
def test_what_a_base_lacks_is_told(name: str, removed: str, message: str, folders: Path, place: str) -> None:
    storage.copy_directory(str(folders / "base"), place)
    for file in storage.list_files(place):
        if file.startswith(f"{place}/{removed}"):
            storage.delete_file(file)
    with pytest.raises(ValueError, match=f"model.base={place}: expected a pipeline {message}"):
        check(name, base=place)


@BOTH
def test_another_kind_of_part_is_told(name: str, folders: Path, tmp_path: Path) -> None:
    whole, encoder = str(folders / "vae"), str(folders / "clip")
    wrong: dict[str, dict[str, str]] = {
        "model.vae=.*/clip: expected a vae of kind AutoencoderKL, got clip; give": {"vae": encoder},
        "model.vae=.*/base: expected the folder of one model, .*no config.json": {"vae": str(folders / "base")},
        "model.text_encoder=.*/vae: expected a text_encoder of kind clip, got AutoencoderKL": {"text_encoder": whole},
        "of kind clip, got t5": {"text_encoder": str(folders / "flux" / "text_encoder_2")},
        "model.text_encoder=.*/text_encoder: expected the folder of one model, a tokenizer inside; there is no": {
            "text_encoder": str(folders / "base" / "text_encoder")
        },
    }
    for message, places in wrong.items():
        with pytest.raises(ValueError, match=message):
            check(name, **places)
    with pytest.raises(FileNotFoundError, match="model.vae=/nowhere: no such directory"):
        check(name, vae="/nowhere")
    shutil.copytree(folders / "clip", tmp_path / "clip", ignore=shutil.ignore_patterns("*.bin"))
    with pytest.raises(ValueError, match="model.text_encoder=.*; there are no weights; copy all"):
        check(name, text_encoder=str(tmp_path / "clip"))


def test_an_unconditional_model_asks_for_no_text_encoder(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "base" / "vae", tmp_path / "vae")
    check("dermdit", base=str(tmp_path), conditional=False)


def test_networks_that_do_not_go_between_the_parts_are_told(folders: Path) -> None:
    parts = {"vae": str(folders / "vae"), "text_encoder": str(folders / "clip")}
    with pytest.raises(ValueError, match="model.text_width=512: the text encoder has 32 channels; give 32, or another"):
        check("dermdit", **parts, text_width=512)
    unet = {"cross_attention_dim": WIDTH}
    check("latent_diffusion", **parts, unet=unet)
    with pytest.raises(ValueError, match="model.unet.cross_attention_dim=1280: the text encoder has 32 channels"):
        check("latent_diffusion", **parts, unet={})
    with pytest.raises(ValueError, match="in_channels=4, out_channels=8, and the autoencoder's latents have 4; give 4"):
        check("latent_diffusion", **parts, unet=unet | {"out_channels": 8})
    with pytest.raises(ValueError, match="with a folder unet, config.json and weights inside; there is no config.json"):
        check("latent_diffusion", base=str(folders / "flux"))


@pytest.mark.parametrize(
    ("unet", "reason"),
    [
        ({"block_out_channels": [7, 9]}, "Must provide the same number of `block_out_channels` as"),
        ({"block_out_channels": [7] * 4}, "num_channels (7) must be divisible by num_groups (32)"),
        ({"down_block_types": ["Unknown"] * 4}, "Unknown does not exist"),
    ],
)
def test_a_unet_that_diffusers_refuses_is_told(unet: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=rf"^model.unet=.*: diffusers makes no network of it: {re.escape(reason)}"):
        check("latent_diffusion", unet=unet)
