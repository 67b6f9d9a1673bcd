"""DermDiT held to its published counts and names, to its defect as published, and to diffusers' schedulers."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dermray.config import load, preset
from dermray.generators import nano
from dermray.generators.base import Request
from dermray.generators.dermdit import DermDiT, DermDiTConfig, geometry
from dermray.generators.dermdit_start import CLASS_TABLE
from dermray.generators.dit import CrossBlock, Transformer
from tests.conftest import free_port
from tests.generators.conftest import CAPTIONS, shaken

IMAGES = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
CONFIG = DermDiTConfig()
# The linear layers of a block in DermDiT's and DiT's public code, and what else its state dict has.
LINEAR = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
OUTSIDE = ["x_embedder.proj", "t_embedder.mlp.0", "t_embedder.mlp.2", "final_layer.linear",
           "final_layer.adaLN_modulation.1"]  # fmt: skip
POOLING = [f"y_embedder.{name}" for name in ("norm1", "pool.k_proj", "pool.q_proj", "pool.v_proj", "proj", "norm2")]


def build(**changes: object) -> DermDiT:
    torch.manual_seed(0)
    return shaken(DermDiT.from_captions(CONFIG.model_copy(update=changes), CAPTIONS))


def paper_size(*changes: str) -> Transformer:
    from dermray.training.run import TrainConfig

    given = load(TrainConfig, preset("train/dermdit_paper"), [f"model.{change}" for change in changes]).model
    with torch.device("meta"):
        return Transformer(geometry(DermDiTConfig(**given), nano.vae().config))


def parameters(model: Transformer) -> int:
    return sum(p.numel() for p in model.parameters()) + model.pos_embed.numel()


def published_names(block: list[str], others: list[str]) -> set[str]:
    layers = [*OUTSIDE, *(f"blocks.{i}.{name}" for i in range(24) for name in block)]
    return {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")} | {"pos_embed", *others}


def test_the_published_network() -> None:
    """Counted on the public code, whose table of positions is a parameter, and which learns its variances."""
    model = paper_size("compat=paper")
    assert parameters(model) == 407_964_800
    assert parameters(paper_size("compat=paper", "learned_sigma=false")) == 407_899_200
    attention = [f"blocks.{i}.multihead_attn.{name}" for i in range(24)
                 for name in ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")]  # fmt: skip
    text = [f"{layer}.{kind}" for layer in POOLING for kind in ("weight", "bias")]
    names = published_names(LINEAR, [*attention, *text, "y_embedder.pool.positional_embedding"])
    assert model.state_dict().keys() == names
    assert model.grid == 8, "64 tokens"


def test_the_unconditional_baseline_is_dit() -> None:
    """DiT-L/4, counted on the public code, where the table has 1001 rows."""
    model = paper_size("conditional=false")
    assert model.state_dict().keys() == published_names([*LINEAR, "adaLN_modulation.1"], [CLASS_TABLE])
    assert parameters(model) + 1000 * 1024 == 458_053_760


def test_weights_begin_as_published() -> None:
    for changes in ({"compat": "paper"}, {}, {"conditional": False}):
        torch.manual_seed(0)
        model = DermDiT.from_captions(CONFIG.model_copy(update=changes), CAPTIONS).transformer
        for name, weight in model.named_parameters():
            if name.startswith("final_layer") or "adaLN" in name or (name.endswith("bias") and weight.ndim == 1):
                assert not weight.any(), name
            elif name.startswith("t_embedder") or name == CLASS_TABLE:
                assert weight.detach().std() == pytest.approx(0.02, rel=0.3), name
            elif weight.ndim > 1 and "positional" not in name:
                matrix = weight.flatten(1)
                assert matrix.abs().max() <= (6 / sum(matrix.shape)) ** 0.5, f"{name}: Xavier's bound"
                assert matrix.detach().std() == pytest.approx((2 / sum(matrix.shape)) ** 0.5, rel=0.15), name


def queries_and_keys(name: str, gradient: Tensor) -> dict[str, Tensor]:
    """A gradient by which part of attention to text it belongs to."""
    if "multihead_attn.in_proj" not in name:
        return {"": gradient}
    return dict(zip(("query", "key", "value"), gradient.chunk(3), strict=True))


@pytest.mark.parametrize(
    ("changes", "dead"), [({"compat": "paper"}, {"query", "key"}), ({}, set()), ({"conditional": False}, set())]
)
def test_which_weights_learn(changes: dict[str, object], dead: set[str]) -> None:
    """As published, a softmax over one key is 1: the gradient of queries and keys is zero but for rounding."""
    model = build(**changes).train()
    for _ in range(4):
        model(model.collate(model.encode(IMAGES, CAPTIONS))).backward()
    still = set()
    for name, weight in model.transformer.named_parameters():
        assert weight.grad is not None, name
        for part, gradient in queries_and_keys(name, weight.grad).items():
            of_keys = weight.ndim == 1 and (part == "key" or name.endswith("k_proj.bias"))
            if gradient.abs().max() < 1e-6 and not of_keys:  # which add the same to all scores, here as everywhere
                still.add(part)
    assert still == dead
    frozen = [part for part in (model.vae, model.clip) if isinstance(part, nn.Module)]
    assert all(p.grad is None for part in frozen for p in part.parameters())


def test_the_baseline_trains_under_ddp() -> None:
    """A parameter that is not used would stop it at the second step."""
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{free_port()}", rank=0, world_size=1)
    try:
        model = build(conditional=False).train()
        wrapped, batch = DistributedDataParallel(model), model.collate(model.encode(IMAGES, CAPTIONS))
        for _ in range(3):
            wrapped(batch).backward()
    finally:
        torch.distributed.destroy_process_group()


def test_as_published_every_patch_receives_the_same_vector() -> None:
    block = build(compat="paper").transformer.blocks[0]
    assert isinstance(block, CrossBlock)
    x, key = torch.randn(2, 16, 64), torch.randn(2, 1, 64)
    crossed, _ = block.multihead_attn(x, key, key)
    torch.testing.assert_close(crossed, crossed[:, :1].expand_as(crossed))


def test_as_published_all_77_states_are_read() -> None:
    model = build(compat="paper").eval()
    long, short = model.encode(IMAGES, CAPTIONS)
    assert long["text"].shape == short["text"].shape == (77, 32)
    z, t = torch.randn(1, 4, 8, 8), torch.tensor([10])
    drawn = [model.transformer(z, t, short["text"][None, :length]) for length in (10, 77)]
    assert (drawn[0] - drawn[1]).abs().max() > 1e-4, "padding is read too"


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


def test_250_steps_are_dits() -> None:
    """Evenly from 999 down to 0, rounded: the list of `space_timesteps(1000, "250")` in DiT's public code."""
    steps = build().schedule(250).timesteps.tolist()
    assert steps == [round(i * 999 / 249) for i in reversed(range(250))]
    assert steps[:4] == [999, 995, 991, 987] and steps[-3:] == [8, 4, 0] and len(set(steps)) == 250


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm_solver"])
@pytest.mark.parametrize("steps", [12, 20, 50])
def test_every_sampler_starts_where_training_ended(sampler: str, steps: int) -> None:
    times = build(sampler=sampler).schedule(steps).timesteps.tolist()
    assert times[0] == 999 and len(times) == steps and times == sorted(times, reverse=True)


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
    weights = model.transformer.final_layer.linear.weight.grad
    assert weights is not None
    per_channel = weights.unflatten(0, (2, 2, 8)).abs().amax((0, 1, 3))
    assert (per_channel > 0).all()
    plain.noise_schedule.register_to_config(variance_type="fixed_small")
    plain.config = plain.config.model_copy(update={"learned_sigma": False})
    torch.manual_seed(0)
    plain(batch).backward()
    gradient = plain.transformer.final_layer.linear.weight.grad
    assert gradient is not None
    simple = gradient.unflatten(0, (2, 2, 8))
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


def test_a_checkpoint_of_the_first_network_is_refused(tmp_path: Path) -> None:
    build().save(tmp_path)
    about = tmp_path / "config.json"
    about.write_text(about.read_text().replace('"network": 2', '"network": 1'))
    with pytest.raises(ValueError, match="a checkpoint of network 1, and this version has 2"):
        DermDiT.load(tmp_path)


@pytest.mark.parametrize("changes", [{"compat": "paper"}, {"conditional": False}])
def test_training_goes_on_from_a_file_of_the_public_code(changes: dict[str, object], tmp_path: Path) -> None:
    """Which has weights, averages and its arguments; DiT's table has rows of classes before that of none."""
    model, file = build(**changes), tmp_path / "0400000.pt"
    weights = {name: value.clone() for name, value in model.transformer.state_dict().items()}
    if CLASS_TABLE in weights:
        weights[CLASS_TABLE] = torch.cat([torch.randn(1000, 64), weights[CLASS_TABLE]])
    first = {name: torch.zeros_like(value) for name, value in weights.items()}
    torch.save({"model": first, "ema": weights, "opt": {}, "args": argparse.Namespace(model="DiT-L/4")}, file)
    started = CONFIG.model_copy(update=changes | {"start_from": str(file)})
    DermDiT.check_start(started)
    again = DermDiT.from_captions(started, CAPTIONS).transformer.state_dict()
    torch.testing.assert_close(again, dict(model.transformer.state_dict()), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"pos_embed is \(1, 16, 64\), and this config makes it .*; see model.width"):
        DermDiT.check_start(started.model_copy(update={"width": 128}))
    with pytest.raises(ValueError, match="not the weights of this network: .* such as"):
        DermDiT.check_start(started.model_copy(update={"compat": "fixed", "conditional": True}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.pt", b"<html>404</html>", "a web page, not the file that its link leads to; copy it again"),
        ("x.pt", b"", "empty; copy it again"),
        ("x.pt", torch.nn.ReLU(), "damaged, or it has other things than tensors, such as a whole module; .*"),
        ("x.pt", [1, 2], r"expected tensors by name, got a list; save a state_dict\(\)"),
        ("x.pt", {"ema": {"epoch": 1}}, r"expected tensors by name, got a dict; save a state_dict\(\)"),
        ("x.safetensors", save({"x": torch.ones(9)})[:-1], "cut or damaged, .* its header says .*; copy it again"),
        ("folder", None, "a directory; give the file of weights inside"),
    ],
)
def test_a_damaged_start_gets_one_sentence(name: str, content: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if content is None:
        file.mkdir()
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(ValueError, match=f"^model.start_from={file}: {message}$"):
        DermDiT.check_start(CONFIG.model_copy(update={"start_from": str(file)}))
    with pytest.raises(FileNotFoundError, match="^model.start_from=/nowhere.pt: no such file$"):
        DermDiT.check_start(CONFIG.model_copy(update={"start_from": "/nowhere.pt"}))


def test_patches_that_do_not_cover_the_latents_are_refused() -> None:
    with pytest.raises(ValueError, match="patch=3: latents of image_size=64 are 8 x 8; give a patch that divides 8"):
        DermDiTConfig(image_size=64, patch=3)


def test_a_text_encoder_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="text_width=512: the base's text encoder has 32"):
        DermDiT.from_captions(CONFIG.model_copy(update={"text_width": 512}), CAPTIONS)


def test_frozen_parts_come_from_several_places(tmp_path: Path) -> None:
    """An autoencoder alone, and a CLIP with its tokenizer beside it."""
    model = build()
    model.vae.save_pretrained(tmp_path / "vae")
    for part in (model.clip, model.tokenizer):
        part.save_pretrained(tmp_path / "clip")
    places = {"vae": str(tmp_path / "vae"), "text_encoder": str(tmp_path / "clip")}
    config = CONFIG.model_copy(update=places)
    assert not DermDiT.makes_words(config)
    torch.manual_seed(0)
    other = shaken(DermDiT.from_captions(config, ["other words"]))
    for ours, theirs in zip(other.encode(IMAGES, CAPTIONS), model.encode(IMAGES, CAPTIONS), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    by = DermDiT.encoded_by(config) or {}
    assert by["vae"] != by["text_encoder"] and len(by["vae"]) == 12
    other.save(tmp_path / "saved")
    request = [Request(CAPTIONS[0], 3)]
    assert torch.equal(DermDiT.load(tmp_path / "saved").sample(request, 2.0, 3), model.sample(request, 2.0, 3))
    assert DermDiT.readers(config, [])[0].name == DermDiT.readers(CONFIG, CAPTIONS)[0].name == "clip"
    with pytest.raises(FileNotFoundError, match="model.vae=/nowhere/vae: no such directory"):
        DermDiT.from_captions(config.model_copy(update={"vae": "/nowhere/vae"}), CAPTIONS)
    with pytest.raises(ValueError, match="model.text_encoder=.*: expected the folder of one model, config.json"):
        DermDiT.from_captions(config.model_copy(update={"text_encoder": str(tmp_path)}), CAPTIONS)
