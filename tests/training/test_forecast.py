"""The forecast against a real step, an analytic count, and published sizes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.forecast_over_real import CAPTIONS, really
from dermray import cli
from dermray.config import load, preset
from dermray.generators.glide_models import GlideText
from dermray.generators.published import parts as published
from dermray.train_loop.fake_device import DEVICE, FakeDevice
from dermray.train_loop.live_bytes import LiveBytes
from dermray.training.bill import dry_run, told
from dermray.training.forecast import ATTENTION, Forecast, of_captions
from dermray.training.settings import TrainConfig
from tests.generators import stable_diffusion_folders


def config_of(name: str, *changes: str) -> TrainConfig:
    return load(TrainConfig, preset(f"train/{name}"), list(changes))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("flux_lora_nano", ["loop.gradient_checkpointing=true"]),
        ("latent_diffusion_nano", ["loop.precision=bf16"]),
        ("dermdit_nano", ["loop.accumulate=4"]),
        ("stable_diffusion_lora_nano", ["encode_ahead=true", "flips=false"]),
        ("latent_diffusion_nano", ["loop.optimizer=prodigy", "loop.learning_rate=1"]),
        ("latent_diffusion_nano", ["loop.optimizer=lion"]),
        ("flux_lora_nano", ["model.adapter=dora"]),
        ("flux_lora_nano", ["model.adapter=lokr", "model.lokr_factor=4"]),
    ],
)
def test_a_real_step_takes_as_much(name: str, changes: list[str]) -> None:
    """torch counts the operations of a real step, its profiler what the CPU's allocator gives out."""
    config = config_of(name, "loop.workers=1", *changes)
    flops, memory = really(config)
    bill = of_captions(config, CAPTIONS)
    assert bill.flops == pytest.approx(flops, rel=0.1)
    assert bill.memory.peak == pytest.approx(memory, rel=0.1)


def test_operations_of_a_transformer_are_those_of_its_equations() -> None:
    """12 d^2 weights a layer and token, each two operations forward and four backward. Attention: queries by keys, and
    weights by values, 2 T d each; backward five such products, as it computes the first again."""
    b, t, d, layers = 2, 16, 64, 3
    with FakeDevice() as device:
        model = GlideText(words=10, context=t, width=d, layers=layers, heads=4, padding=0)
        device.take(model)
        with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
            model(torch.ones(b, t, dtype=torch.long, device=DEVICE)).sum().backward()
    products = 6 * b * t * 12 * d**2 * layers
    attention = (2 + 5) * 2 * b * t * t * d * layers
    assert counter.get_total_flops() == products + attention


def test_live_bytes_are_of_storages_while_they_live() -> None:
    cpu = torch.device("cpu")
    with LiveBytes(cpu) as live:
        held = torch.zeros(1000)
        assert live.now == 4000
        view = held[:10].view(2, 5)
        held.add_(1)
        assert live.now == 4000, "a view and a change in place take nothing"
        doubled = held * 2
        del held, doubled
        assert (live.now, live.peak) == (4000, 8000), "the view keeps its storage"
        del view
        assert live.now == 0


def parts_of(directory: Path) -> list[str]:
    """Configs of DermDiT's parts as they are published, and no weights."""
    for name, config in (("vae", published.SD_VAE), ("text_encoder", published.CLIP_VIT_B_32)):
        (directory / name).mkdir()
        (directory / name / "config.json").write_text(json.dumps(config))
    return [f"model.vae={directory}/vae", f"model.text_encoder={directory}/text_encoder"]


STABLE_DIFFUSION_1 = {
    "unet": published.SD_1_UNET, "vae": published.SD_VAE, "text_encoder": published.CLIP_VIT_L_14,
    "scheduler": published.SD_1_NOISE,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "trained", "frozen", "steps"),
    [
        ("lesiongen", 16 * 797_184, 859_520_964 + 83_653_863 + 123_060_480, "15,000"),  # diffusers' of rank 4
        pytest.param("dermdiff", 859_520_964, 83_653_863 + 123_060_480, "15,000", marks=pytest.mark.soak),
        pytest.param(
            "derm_t2im", 16 * (797_184 + 294_912), 1_066_235_307, "45,000", marks=pytest.mark.soak
        ),  # and rank 4 on 12 layers of CLIP: q, k, v, out of 768
    ],
)
def test_stable_diffusion_at_its_published_size(
    name: str, trained: int, frozen: int, steps: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """U-Net, autoencoder and text encoder have the parameters of Stable Diffusion 1.4's files."""
    for part, config in STABLE_DIFFUSION_1.items():
        (tmp_path / part).mkdir()
        file = "scheduler_config.json" if part == "scheduler" else "config.json"
        (tmp_path / part / file).write_text(json.dumps(config))
    cli.main(["train", "--dry-run", "--config", f"train/{name}", f"model.base={tmp_path}", f"rows={tmp_path}/none"])
    printed, said = capfd.readouterr()
    assert f"{trained:,} trained, {frozen:,} frozen" in printed and f"in {steps} steps" in printed
    assert "kept in float32" not in said


@pytest.mark.slow
def test_published_size_without_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = [*parts_of(tmp_path), "model.compat=paper", f"rows={tmp_path}/none"]
    cli.main(["train", "--dry-run", "--config", "train/dermdit_paper", *changes])
    printed = capsys.readouterr().out
    assert f"{407_964_800 - 64 * 1024:,} trained" in printed, "the table of positions is no parameter here"
    assert "in 400,000 steps" in printed and "12 GiB or more" in printed
    assert list(tmp_path.glob("**/*.safetensors")) == [] and not (tmp_path / "none").exists()


def test_missing_configs_are_named(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    config = config_of("dermdit_paper", f"model.vae={tmp_path}/vae", f"model.text_encoder={tmp_path}/none")
    with pytest.raises(FileNotFoundError, match=r"model\.vae=.*config\.json"):
        of_captions(config, CAPTIONS)


def test_the_optimizers_state_is_in_the_bill() -> None:
    """In numbers a trained weight, of four bytes; Prodigy's is the most that it may be."""
    kept = {}
    for name, rate in (("adamw", 1e-3), ("lion", 1e-4), ("prodigy", 1)):
        config = config_of("pixel_dermdit_nano", f"loop.optimizer={name}", f"loop.learning_rate={rate}")
        bill = of_captions(config, CAPTIONS)
        kept[name] = round(bill.memory.optimizer / bill.trained / 4, 1)
        assert bill.checkpoint == pytest.approx((2 + kept[name]) * bill.trained * 4, rel=0.1), "and in checkpoints"
    assert kept == {"adamw": 2.0, "lion": 1.0, "prodigy": 4.0}


def test_fsdp_divides_what_is_trained() -> None:
    alone = of_captions(config_of("latent_diffusion_nano", "loop.workers=1", "loop.batch_size=4"), CAPTIONS)
    config = config_of("latent_diffusion_nano", "loop.workers=4", "loop.batch_size=16", "loop.parallel=fsdp")
    one_of_four = of_captions(config, CAPTIONS)
    assert one_of_four.memory.optimizer == pytest.approx(alone.memory.optimizer / 4, rel=0.01)
    assert one_of_four.memory.averages == pytest.approx(alone.memory.averages / 4, rel=0.01)
    assert one_of_four.memory.activations == alone.memory.activations
    assert one_of_four.flops == 4 * alone.flops, "of all workers"


def test_epochs_wait_for_the_rows_and_small_gpus_are_told() -> None:
    config = config_of("dermdit_nano", "loop.steps=0", "loop.epochs=2", "loop.gpus_per_worker=1")
    given: Any = of_captions(config_of("dermdit_nano", "loop.workers=1"), CAPTIONS)
    bill = Forecast(**{**vars(given), "steps": None})
    assert "how many steps 2 epochs are is known when the rows are there: runs/caption" in told(config, bill, None)
    assert "8 GiB or more" in told(config, bill, None)
    assert "too small here" in told(config, bill, 10**9)


def test_a_bill_of_a_base_that_cannot_be_is_refused(tmp_path: Path) -> None:
    """Folders of configs alone are enough for one; a base with weights is asked as training asks it."""
    base = stable_diffusion_folders.published(tmp_path / "base")
    config = config_of("stable_diffusion_nano", f"model.base={base}")
    file = Path(base) / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match="model.base=.*: unet/diffusion_pytorch_model.safetensors: cut or damaged"):
        dry_run(config)
    for weights in Path(base).glob("*/*.safetensors"):
        weights.unlink()
    assert "trained" in dry_run(config)
