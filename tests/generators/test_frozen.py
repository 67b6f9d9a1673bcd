"""Frozen bases: the right kind, whole, loaded once; their latents as diffusers draws them."""

import json
import logging
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from dermray import storage
from dermray.generators import frozen, nano
from dermray.generators.base import family
from dermray.generators.flux_lora import FluxLora, FluxLoraConfig
from tests.generators.conftest import CAPTIONS


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline as FLUX.1-dev's repository has it."""
    directory = tmp_path_factory.mktemp("base")
    nano.flux(CAPTIONS, 16).save_pretrained(directory)
    return directory


def test_latents_are_diffusers_bit_for_bit() -> None:
    vae = nano.vae(shift_factor=0.1159, scaling_factor=0.3611)
    moments = 12 * torch.randn(3, 8, 5, 7)  # some beyond where the variance is cut off
    torch.manual_seed(1)
    ours = frozen.draw_latents(vae, moments)
    torch.manual_seed(1)
    assert torch.equal(ours, (DiagonalGaussianDistribution(moments).sample() - 0.1159) * 0.3611)


def test_a_whole_base_of_the_right_kind_is_taken(flux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one on the hub its index is read, and no file is asked for."""
    FluxLora.check_start(FluxLoraConfig(base=str(flux)))
    index = json.loads((flux / "model_index.json").read_text())
    monkeypatch.setattr(DiffusionPipeline, "load_config", lambda name, revision: {"some/flux": index}[name])
    FluxLora.check_start(FluxLoraConfig(base="some/flux"))
    del index["vae"]
    with pytest.raises(ValueError, match="model.base=some/flux: expected a FluxPipeline.* and it lacks vae; copy or"):
        FluxLora.check_start(FluxLoraConfig(base="some/flux"))


def test_a_base_has_the_same_sentences_in_every_family(tmp_path: Path) -> None:
    said = set[str]()
    for name in ("flux_lora", "stable_diffusion", "stable_diffusion_lora"):
        with pytest.raises(ValueError, match="there is no model_index.json") as raised:
            family(name).check_start(family(name).Config(base=str(tmp_path)))
        said.add(str(raised.value).replace("Flux", "StableDiffusion"))
    assert len(said) == 1, said


def test_only_warnings_of_other_precisions_that_name_a_module_are_heard(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """diffusers warns of an empty list too."""
    logger, vae = logging.getLogger("diffusers.models.modeling_utils"), nano.vae()
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    vae.to(torch.bfloat16)
    assert "kept in float32: []" in caplog.text, "else nothing needs to be silenced any more"
    caplog.clear()
    assert frozen.in_precision(vae, torch.float16).dtype == torch.float16 and not caplog.text
    monkeypatch.setattr(type(vae), "_keep_in_fp32_modules", ["decoder"])
    frozen.in_precision(vae, torch.bfloat16)
    assert "['decoder']" in caplog.text


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("text_encoder_2", "and it lacks text_encoder_2"),
        ("tokenizer_2", "and it lacks tokenizer_2"),
        ("vae/config.json", "and it lacks vae/config.json"),
        ("transformer/diffusion_pytorch_model.safetensors", "and it lacks the weights of transformer"),
        ("model_index.json", "and there is no model_index.json"),
    ],
)
def test_what_a_base_lacks_is_told_in_one_sentence(flux: Path, place: str, removed: str, message: str) -> None:
    storage.copy_directory(str(flux), place)
    for file in storage.list_files(place):
        if file.startswith(f"{place}/{removed}"):
            storage.delete_file(file)
    with pytest.raises(ValueError, match=f"model.base={place}: expected a FluxPipeline.*{message}"):
        FluxLora.check_start(FluxLoraConfig(base=place))


def test_another_familys_base_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(ValueError, match="expected a FluxPipeline in diffusers' format, got a StableDiffusionPipeline"):
        FluxLora.check_start(FluxLoraConfig(base=str(tmp_path)))


def test_workers_of_a_machine_share_a_bases_memory(flux: Path) -> None:
    """Its weights are pages of its files, which the system holds once for all processes."""
    pipeline = frozen.load_pipeline(str(flux), None, "fp32")
    for part in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        weight = next(getattr(pipeline, part).parameters())
        assert str(flux / part) in mapped_file(weight.data_ptr()), part


def mapped_file(address: int) -> str:
    """Of this process's memory at an address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split(" ")[0].split("-"))
        if start <= address < end:
            return line.split(maxsplit=5)[-1]
    raise AssertionError("no such address")


def test_the_encoder_has_no_transformer(flux: Path) -> None:
    for base in (str(flux), "nano"):
        config = FluxLoraConfig(base=base, image_size=32, max_sequence_length=16)
        encoder = FluxLora.encoder(config, CAPTIONS)
        assert {name.split(".")[0] for name, _ in encoder.named_parameters()} == {"vae", "clip", "t5"}
        [sample] = encoder.encode(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), CAPTIONS[:1])
        [whole] = FluxLora.from_captions(config, CAPTIONS).encode(
            torch.zeros(1, 3, 32, 32, dtype=torch.uint8), CAPTIONS[:1]
        )
        assert sample.keys() == whole.keys() and all(torch.equal(sample[name], whole[name]) for name in whole)
