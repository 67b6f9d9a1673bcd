"""DermDiT held to its published counts, to its defect as published, and to diffusers' schedulers."""

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL

from dermray.config import load, preset
from dermray.generators.base import Request
from dermray.generators.dermdit import Block, DermDiT, DermDiTConfig, Transformer
from tests.generators.conftest import CAPTIONS, shaken

IMAGES = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
CONFIG = DermDiTConfig()
PAPER = DermDiTConfig(compat="paper")


def build(**changes: object) -> DermDiT:
    torch.manual_seed(0)
    return shaken(DermDiT.from_captions(CONFIG.model_copy(update=changes), CAPTIONS))


def paper_size(compat: str) -> Transformer:
    from dermray.training.run import TrainConfig

    given = load(TrainConfig, preset("train/dermdit_paper"), [f"model.compat={compat}"]).model
    with torch.device("meta"):
        return Transformer(DermDiTConfig(**given), channels=4, side=32)


def test_the_published_size() -> None:
    model = paper_size("paper")
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(408.0, abs=0.05)
    dead = sum(p.numel() for name, p in model.named_parameters() if ".query." in name or ".key." in name)
    assert dead / 1e6 == pytest.approx(50.3, abs=0.05)
    assert len(model.blocks) == 24 and model.grid == 8, "64 tokens"


@pytest.mark.parametrize(("compat", "dead"), [("paper", {"query", "key"}), ("fixed", set())])
def test_which_weights_learn(compat: str, dead: set[str]) -> None:
    """As published, a softmax over one key is 1: the gradient of queries and keys is zero but for rounding."""
    model = build(compat=compat).train()
    for _ in range(4):
        model(model.collate(model.encode(IMAGES, CAPTIONS))).backward()
    named = list(model.transformer.named_parameters())
    largest = {name: 0.0 if p.grad is None else p.grad.abs().max().item() for name, p in named}
    assert {name.split(".")[2] for name, value in largest.items() if value < 1e-6} == dead
    assert not any(1e-6 <= value < 1e-4 for value in largest.values())
    assert all(p.grad is None for part in (model.vae, model.clip) for p in part.parameters())


def test_as_published_every_patch_receives_the_same_vector() -> None:
    model = build(compat="paper").transformer
    x, key = torch.randn(2, 16, 64), torch.randn(2, 1, 64)
    block = model.blocks[0]
    assert isinstance(block, Block)
    crossed = block._attend(block.query(x), block.key(key), block.value(key), None)
    torch.testing.assert_close(crossed, block.value(key).expand_as(crossed))


def test_padding_changes_nothing_and_captions_matter() -> None:
    model = build().eval()
    long, short = model.encode(IMAGES, CAPTIONS)
    assert len(long["text"]) > len(short["text"]), "stored without padding"
    z, t = torch.randn(2, 4, 8, 8), torch.tensor([10, 500])
    both, alone = model.collate([long, short]), model.collate([short])
    beside = model.transformer(z, t, both["text"], both["text_mask"])[1]
    torch.testing.assert_close(
        model.transformer(z[1:], t[1:], alone["text"], alone["text_mask"])[0], beside, rtol=1e-4, atol=1e-5
    )
    other = model.collate([long])
    assert (model.transformer(z[1:], t[1:], other["text"], other["text_mask"])[0] - beside).abs().max() > 1e-3


def test_the_unconditional_baseline_ignores_captions() -> None:
    model = build(conditional=False).eval()
    drawn = [model.sample([Request(caption, 3)], 4.0, 3) for caption in CAPTIONS]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver"])
def test_sampling_is_the_schedulers_whatever_is_beside_it(sampler: str, learned: bool) -> None:
    model = build(sampler=sampler, learned_sigma=learned).eval()
    requests = [Request(CAPTIONS[0], 7), Request(CAPTIONS[1], 8)]
    both = model.sample(requests, 2.0, 4)
    assert both.shape == (2, 3, 64, 64) and both.dtype == torch.uint8
    assert (model.sample(requests[1:], 2.0, 4)[0].int() - both[1].int()).abs().max() <= 1
    assert not torch.equal(both[0], both[1])


def test_learned_variances_learn_and_leave_the_noise_alone() -> None:
    """L_simple + L_vlb: without the second term the variance channels would get no gradient."""
    model = build(learned_sigma=True, caption_dropout=0.0).train()
    plain = build(learned_sigma=True, caption_dropout=0.0).train()
    batch = model.collate(model.encode(IMAGES, CAPTIONS))
    torch.manual_seed(0)
    model(batch).backward()
    weights = model.transformer.out.weight.grad
    assert weights is not None
    per_channel = weights.unflatten(0, (2, 2, 8)).abs().amax((0, 1, 3))
    assert (per_channel > 0).all()
    plain.noise_schedule.register_to_config(variance_type="fixed_small")
    plain.config = plain.config.model_copy(update={"learned_sigma": False})
    torch.manual_seed(0)
    plain(batch).backward()
    assert plain.transformer.out.weight.grad is not None
    simple = plain.transformer.out.weight.grad.unflatten(0, (2, 2, 8))
    torch.testing.assert_close(weights.unflatten(0, (2, 2, 8))[:, :, :4], simple[:, :, :4], rtol=1e-4, atol=1e-6)
    assert simple[:, :, 4:].abs().max() == 0, "as in public code that trains no variance"


def test_recomputing_activations_changes_no_gradient() -> None:
    gradients = []
    for recompute in (False, True):
        model = build(caption_dropout=0.0).train()
        if recompute:
            model.transformer.enable_gradient_checkpointing()
        torch.manual_seed(0)
        model(model.collate(model.encode(IMAGES, CAPTIONS))).backward()
        gradients.append([p.grad for p in model.transformer.parameters()])
    torch.testing.assert_close(*gradients)


def test_save_and_load(tmp_path: Path) -> None:
    model = build()
    model.save(tmp_path)
    request = [Request(CAPTIONS[0], 3)]
    assert torch.equal(DermDiT.load(tmp_path).sample(request, 2.0, 3), model.sample(request, 2.0, 3))
    vae = AutoencoderKL.from_pretrained(tmp_path / "base" / "vae")
    assert torch.equal(vae.encoder.conv_in.weight, model.vae.encoder.conv_in.weight)
    with pytest.raises(ValueError, match="expected a dermdit checkpoint, found none"):
        DermDiT.load(tmp_path / "base")


def test_a_text_encoder_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="text_width=512: the base's text encoder has 32"):
        DermDiT.from_captions(CONFIG.model_copy(update={"text_width": 512}), CAPTIONS)
