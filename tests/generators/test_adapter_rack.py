"""Adapters beside one another draw what each draws alone, to the bit; what does not fit says which base it is for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dermray.generators import adapters
from dermray.generators.adapter_rack import AdapterRack
from dermray.generators.base import Generator, Request, family
from tests.generators.conftest import CAPTIONS, shaken

SETTINGS: dict[str, list[dict[str, Any]]] = {  # a base, and adapters of it with other layers and ranks
    "flux_lora": [
        {"targets": "attention", "rank": 4, "alpha": 8, "max_sequence_length": 16},
        {"targets": "all_linear", "rank": 2, "alpha": 3, "max_sequence_length": 16},
        {"targets": "image_attention", "rank": 8, "alpha": 4, "max_sequence_length": 16},
    ],
    "stable_diffusion_lora": [
        {"rank": 4, "alpha": 8, "train_text_encoder": False},
        {"rank": 2, "alpha": 3, "train_text_encoder": True},
        {"rank": 8, "alpha": 4, "train_text_encoder": False},
    ],
}
SETTINGS["sdxl_lora"] = SETTINGS["stable_diffusion_lora"]
Made = list[tuple[Generator, Path]]


def made_of(name: str, place: Path) -> Made:
    made: Made = []
    for number, settings in enumerate(SETTINGS[name]):
        cls: Any = family(name)
        generator = shaken(
            cls.from_captions(cls.Config(image_size=32, **settings), CAPTIONS), 0.1 * (number + 1)
        ).eval()
        generator.rows = 4
        generator.save(place / str(number))
        made.append((generator, place / str(number)))
    return made


@pytest.fixture(scope="module", params=list(SETTINGS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_of(request.param, tmp_path_factory.mktemp("rack"))


def drawn(generator: Generator) -> torch.Tensor:
    return generator.sample([Request(caption, seed) for seed, caption in enumerate(CAPTIONS)], 3.5, 3)


def loaded(directory: Path, like: Generator) -> Generator:
    generator: Any = type(like).load(directory).eval()
    generator.rows = 4
    return generator


def read(rack: AdapterRack, directory: Path, file: str = adapters.LORA_FILE) -> dict[str, Any]:
    return rack.read((directory / file).read_bytes(), "adapter")


def test_each_draws_what_it_draws_alone(made: Made) -> None:
    alone = [drawn(generator) for generator, _ in made]
    assert not torch.equal(alone[1], alone[2]) and not torch.equal(alone[0], alone[1])
    base = loaded(made[0][1], made[0][0])
    rack = AdapterRack(base)
    slots = {1: rack.hang(read(rack, made[1][1])), 2: rack.hang(read(rack, made[2][1]))}
    for number in (1, 0, 2, 1, 0):
        rack.use(slots.get(number))
        assert torch.equal(drawn(base), alone[number]), number
    rack.take_away(slots[1])
    rack.use(slots[2])
    assert torch.equal(drawn(base), alone[2])
    rack.take_away(slots[2])
    assert torch.equal(drawn(base), alone[0]) and not rack.slots
    assert not any("slot" in name for name, _ in base.named_parameters()), "its memory is free"
    again = rack.hang(read(rack, made[1][1]))
    assert torch.equal(drawn(base), alone[0]), "what is new does not draw by itself"
    rack.use(again)
    assert torch.equal(drawn(base), alone[1])


def test_files_of_kohyas_names_draw_the_same(made: Made, tmp_path: Path) -> None:
    base = loaded(made[0][1], made[0][0])
    rack = AdapterRack(base)
    for generator, _ in made[1:]:
        generator.save_kohya(tmp_path / "k.safetensors")  # type: ignore[operator]
        rack.use(rack.hang(read(rack, tmp_path, "k.safetensors")))
        assert torch.equal(drawn(base), drawn(generator))


def test_an_adapter_of_several_ranks(made: Made, tmp_path: Path) -> None:
    """As other trainers write them: half the rank on some layers is the same adapter with zeros."""
    generator, directory = made[2]
    weights = load_file(directory / adapters.LORA_FILE)
    with safe_open(directory / adapters.LORA_FILE, "pt") as file:
        said = file.metadata()
    first = min(weights).rpartition(".lora_")[0]
    half = {n: (v[:4] if ".lora_A" in n else v[:, :4]) if n.startswith(first) else v for n, v in weights.items()}
    zeros = {n: v.clone() for n, v in weights.items()}
    zeros[f"{first}.lora_B.weight"][:, 4:] = 0
    del said["lora_adapter_metadata"]  # without alphas: a scale of 1 at any rank
    for name, state in (("half", half), ("zeros", zeros)):
        save_file({n: v.contiguous() for n, v in state.items()}, tmp_path / f"{name}.safetensors", said)
    base = loaded(made[0][1], generator)
    rack = AdapterRack(base)
    images = []
    for name in ("half", "zeros"):
        rack.use(rack.hang(read(rack, tmp_path, f"{name}.safetensors")))
        images.append(drawn(base).float())
    assert (images[0] - images[1]).abs().max() <= 1
    assert not torch.equal(images[0], drawn(generator).float())


def test_an_adapter_of_another_base_says_so(made: Made, tmp_path: Path) -> None:
    rack = AdapterRack(loaded(made[0][1], made[0][0]))
    other = next(name for name in SETTINGS if family(name) is not type(made[0][0]))
    with pytest.raises(ValueError, match=r"^adapter: made for another base: .* layers are none of the served base's"):
        read(rack, made_of(other, tmp_path)[1][1])
    weights = load_file(made[1][1] / adapters.LORA_FILE)
    wide = {n: torch.cat([v, v], 1) if ".lora_A" in n else v for n, v in weights.items()}
    save_file(wide, tmp_path / "wide.safetensors", {"ss_base_model_version": "flux1-schnell"})
    with pytest.raises(
        ValueError,
        match=r"another base: .* \(in, out\) channels in the file and .*; its metadata say .* flux1-schnell$",
    ):
        read(rack, tmp_path, "wide.safetensors")
    with pytest.raises(ValueError, match="adapter: damaged or cut off"):
        rack.read((made[1][1] / adapters.LORA_FILE).read_bytes()[:-9], "adapter")
    assert not rack.slots


def test_a_family_that_takes_none() -> None:
    cls: Any = family("pixel_dermdit")
    config = cls.Config(image_size=16, stem_width=8, width=32, blocks=1, caption_length=12)
    with pytest.raises(ValueError, match="PixelDermDiT takes no adapters"):
        AdapterRack(cls.from_captions(config, CAPTIONS))
