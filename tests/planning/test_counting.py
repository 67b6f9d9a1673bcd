"""Counted operations against equations and published counts."""

import pytest

from benchmarks.papers_on_paper import flux_step
from benchmarks.papers_operations import NETWORKS
from dermray.config import load, preset
from dermray.planning import counting
from dermray.training.settings import TrainConfig


def config_of(name: str, *changes: str) -> TrainConfig:
    return load(TrainConfig, preset(f"train/{name}"), list(changes))


def refused(sentence: str) -> None:
    raise AssertionError(f"{sentence}: it is in the file")


@pytest.mark.parametrize("name", [name for name, known in counting.counted().items() if "what" in known])
def test_the_file_is_of_the_presets_as_they_are(name: str) -> None:
    """A preset or a family's default that changes asks for another count."""
    network = NETWORKS[name]
    config = config_of(network.preset, *network.changes)
    entry = counting.counted()[name]
    assert counting.training(config, refused).train == entry["train"]
    assert counting.drawing(config, network.guidance_scale, refused).step == entry["step"]


def test_flux_is_as_its_blocks_equations_have_it() -> None:
    config = config_of("flux_lora_paper")
    each, drawn = counting.training(config, refused), counting.drawing(config, 3.5, refused)
    assert each.trained == 104_595_456, "rank 64 on all attention: DermaFlux's number"
    assert each.train == pytest.approx(3 * flux_step(512), rel=0.05), "forward twice, and gradients passed on"
    assert drawn.step == pytest.approx(flux_step(512), rel=0.01)
    assert each.checkpoint == pytest.approx(3 * 4 * each.trained, rel=0.01), "weights and AdamW's two numbers"


def test_learning_rates_and_batches_ask_for_no_other_count() -> None:
    usual = counting.identity(config_of("flux_lora_paper"))
    assert counting.identity(config_of("flux_lora_paper", "loop.learning_rate=1e-5", "loop.batch_size=64")) == usual
    assert counting.identity(config_of("flux_lora_paper", "model.rank=16")) != usual
    assert counting.identity(config_of("glide_paper", "model.base=/elsewhere")) == counting.identity(
        config_of("glide_paper")
    )


@pytest.mark.slow
def test_a_count_of_now_is_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    """And of a family that is small."""
    config, known = config_of("pixel_dermdit_nano"), counting.counted()["pixel_dermdit_nano"]
    assert counting.entry(config, 2.0) == known
    said = list[str]()
    wider = config_of("pixel_dermdit_nano", "model.width=64")
    assert counting.training(wider, said.append).train < known["train"] and "counting a training step" in said[0]
