"""Files of weights that are cut, damaged or something else: one sentence, wherever a base has them."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from dermray import storage, weights_file
from dermray.generators.base import family
from dermray.generators.glide import Glide, GlideConfig
from dermray.generators.stable_diffusion_base import StableDiffusionBaseConfig, check
from tests.generators.stable_diffusion_folders import published, single_file

WHOLE = save({"x": torch.ones(3), "y": torch.ones(2, 2)}, {"format": "pt"})
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return published(tmp_path_factory.mktemp("base") / "base")


def test_a_header_is_what_safetensors_wrote(place: str) -> None:
    storage.write_bytes(f"{place}/x.safetensors", WHOLE)
    header = weights_file.read_header(f"{place}/x.safetensors", "x")
    assert {name: tensor["shape"] for name, tensor in header.items()} == {"x": [3], "y": [2, 2]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (WHOLE[:-3], f"cut or damaged, {len(WHOLE) - 3} bytes, and its header says {len(WHOLE)} bytes"),
        (WHOLE + b"\0", f"cut or damaged, {len(WHOLE) + 1} bytes, and its header says {len(WHOLE)} bytes"),
        (WHOLE[:20], "cut or damaged, 20 bytes, and no safetensors file"),
        (WHOLE[:8] + b"x" * (len(WHOLE) - 8), f"cut or damaged, {len(WHOLE)} bytes, and its header cannot be read"),
        (b"<!DOCTYPE html><html>Not Found</html>", "a web page, not the file that its link leads to"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS, not the file itself"),
    ],
)
def test_what_is_no_whole_file_is_told(data: bytes, message: str, place: str) -> None:
    uri = f"{place}/x.safetensors"
    storage.write_bytes(uri, data)
    with pytest.raises(ValueError, match=f"^{re.escape(f'model.base=x: {message}; copy it again')}$"):
        weights_file.check(uri, "model.base=x")


def test_pickled_files_are_zips_or_pickles(place: str, tmp_path: Path) -> None:
    for zipped in (True, False):
        file = tmp_path / f"{zipped}.pt"
        torch.save({"x": torch.ones(100)}, file, _use_new_zipfile_serialization=zipped)
        storage.write_bytes(f"{place}/whole.pt", file.read_bytes())
        weights_file.check(f"{place}/whole.pt", "whole.pt")
    torch.save({"x": torch.ones(100)}, file)
    for data, message in ((file.read_bytes()[:-50], "its end is missing"), (b"<html>", "a web page"), (b"", "empty")):
        storage.write_bytes(f"{place}/cut.bin", data)
        with pytest.raises(ValueError, match=f"^cut.bin: .*{message}.*; copy it again$"):
            weights_file.check(f"{place}/cut.bin", "cut.bin")


@pytest.mark.parametrize("name", ["stable_diffusion", "stable_diffusion_lora", "latent_diffusion", "dermdit"])
def test_a_base_with_a_cut_file_is_told_before_anything_starts(name: str, folder: str, place: str) -> None:
    storage.copy_directory(folder, place)
    cls, file = family(name), UNET if name.startswith("stable") else UNET.replace("unet", "vae")
    config = cls.Config(base=place, **({"text_width": 32} if name == "dermdit" else {}))
    cls.check_start(config)
    storage.write_bytes(f"{place}/{file}", storage.read_bytes(f"{place}/{file}")[:-100])
    with pytest.raises(ValueError, match=f"^model.base={place}: {file}: cut or damaged, .*; copy it again$"):
        cls.check_start(config)


def test_of_a_folder_the_files_that_are_loaded_are_asked(folder: str, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "base")
    for name in ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.non_ema.safetensors"):
        (tmp_path / "base" / "unet" / name).write_text("version https://git-lfs.github.com/spec/v1")
    check(StableDiffusionBaseConfig(base=str(tmp_path / "base")))


def test_a_single_file_is_held_against_its_configs(folder: str, tmp_path: Path) -> None:
    def settings(file: str, configs: str = folder) -> StableDiffusionBaseConfig:
        return StableDiffusionBaseConfig(base=file, base_config=configs)

    whole = single_file(folder, tmp_path / "whole.safetensors")
    check(settings(whole))
    wide = {name: torch.cat([t, t], 1) if "attn2.to_k" in name else t for name, t in load_file(whole).items()}
    save_file(wide, tmp_path / "wide.safetensors")
    torch.save({"state_dict": wide}, tmp_path / "wide.ckpt")
    (tmp_path / "page.ckpt").write_text("<html>404</html>")
    (tmp_path / "cut.safetensors").write_bytes(Path(whole).read_bytes()[:-10])
    wrong: dict[str, tuple[str, str]] = {
        "text of 64 channels, and that of model.base_config=.* reads 32; ": ("wide.safetensors", folder),
        "ckpt: its U-Net reads text of 64 channels, .* reads 32; ": ("wide.ckpt", folder),
        "a web page, not the file": ("page.ckpt", folder),
        "cut or damaged, .* bytes, and its header says": ("cut.safetensors", folder),
        "model.base_config=nano: its sizes are those of no single file": ("whole.safetensors", "nano"),
    }
    for message, (name, configs) in wrong.items():
        with pytest.raises(ValueError, match=message):
            check(settings(str(tmp_path / name), configs))


def test_small_files_that_are_damaged_are_named(folder: str, tmp_path: Path) -> None:
    for file, message in {
        "model_index.json": "model_index.json: damaged, no JSON",
        "tokenizer/vocab.json": "lacks tokenizer.json or vocab.json or spiece.model in tokenizer; copy",
    }.items():
        copy = tmp_path / Path(file).stem
        shutil.copytree(folder, copy)
        (copy / file).write_text("{junk") if "index" in file else (copy / file).unlink()
        with pytest.raises(ValueError, match=f"^model.base={copy}: .*{message}"):
            check(StableDiffusionBaseConfig(base=str(copy)))


def test_a_cut_glide_is_told(tmp_path: Path) -> None:
    config = GlideConfig()
    Glide.from_captions(config, ["mole"]).save(tmp_path)
    asked = config.model_copy(update={"base": str(tmp_path)})
    Glide.check_start(asked)
    file = tmp_path / "base" / UNET
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=f"^model.base={tmp_path}: base/{UNET}: cut or damaged"):
        Glide.check_start(asked)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flux_lora", "expected a FluxPipeline in diffusers' format, got a single file; give the folder that has"),
        ("glide", "expected a directory, got a single file. GLIDE starts from .*: `dermray import glide"),
        ("dermdit", "expected a directory in diffusers' format, got a single file"),
    ],
)
def test_a_single_file_is_no_base_of_other_families(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "base.pt").write_bytes(WHOLE)
    cls = family(name)
    with pytest.raises(ValueError, match=f"^model.base={tmp_path}/base.pt: {message}"):
        cls.check_start(cls.Config(base=f"{tmp_path}/base.pt"))


def test_configs_are_no_single_file(folder: str, tmp_path: Path) -> None:
    whole = single_file(folder, tmp_path / "whole.safetensors")
    with pytest.raises(ValueError, match="^model.base_config=.*: expected a StableDiffusionPipeline .*, got a single"):
        check(StableDiffusionBaseConfig(base=whole, base_config=whole))
