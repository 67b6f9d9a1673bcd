"""Hours by published figures: of the runs themselves, of other cards, of counted networks."""

import pytest

from dermray.backbones.networks import Backbone
from dermray.config import ConfigError
from dermray.planning.figure import Figure, computed, unknown
from dermray.planning.rates import answer_hours, card, hours, image_hours, rates, slower
from dermray.planning.stages.classifying import forward_hours, trained_hours

SEVEN_BILLION = Figure(rates().answers.parameters, "published", "its own")


def test_the_published_run_takes_its_published_time() -> None:
    """505 questions of 214,424 tokens with 517,120 tokens of answers in 66.75 s on one H200."""
    taken = answer_hours(computed(214_424, ""), computed(517_120, ""), SEVEN_BILLION, "H200")
    assert taken.value == pytest.approx(66.75 / 3600) and taken.basis == "published"


def test_another_card_or_model_is_an_assumption_and_says_so() -> None:
    read, written = computed(1e6, ""), computed(1e6, "")
    own = answer_hours(read, written, SEVEN_BILLION, "H200")
    other = answer_hours(read, written, SEVEN_BILLION, "H100")
    assert own.value and other.value
    assert other.value / own.value == pytest.approx(4.8 / 3.35), "as much arithmetic, less bandwidth"
    assert other.basis == "assumed" and "H100 assumed 0.7 times as fast" in other.why
    half = answer_hours(read, written, Figure(rates().answers.parameters / 2, "published", ""), "H200")
    assert half.value == pytest.approx(own.value / 2) and "in proportion to the weights" in half.why
    assert answer_hours(read, written, unknown("no such model"), "H200").why == "no such model"
    assert slower("RTX 3090", "H100") == pytest.approx(3.35 / 0.936), "bandwidth gains less than arithmetic"


def test_an_hour_of_computed_work() -> None:
    taken = hours(computed(0.35 * 312e12 * 3600, ""), "A100", "bf16")
    assert taken.value == pytest.approx(1) and taken.basis == "assumed" and "0.35 (assumed)" in taken.why


def test_a_published_rate_on_its_own_card() -> None:
    taken = image_hours(computed(2561.31 * 3600, ""), rates().features, "inception", "RTX 3090")
    assert taken.value == pytest.approx(1) and taken.basis == "published"


@pytest.mark.parametrize(("name", "multiplications"), [("resnet50", 4.1e9), ("resnext101_32x8d", 16.5e9)])
def test_counted_networks_have_their_published_operations(name: str, multiplications: float) -> None:
    """Multiplications with an addition at 224 px: He et al. 2016 give 3.8 for one with another stride, timm's table
    4.11; Xie et al. 2017's code and torchvision 16.48."""
    second = 0.35 * card("H100").tf32
    taken = forward_hours(name, {}, None, computed(1, ""), "H100")
    assert taken.value is not None
    assert taken.value * 3600 * second == pytest.approx(2 * multiplications, rel=0.02)


def test_a_backbone_without_a_published_rate_is_counted() -> None:
    images = computed(1e6, "")
    resnext = Backbone(name="resnext50_32x4d", learning_rate=1e-4)
    assert "pytorch-image-models" in trained_hours(resnext, None, "float32", images, "H100").why
    for taken in (
        trained_hours(resnext, 128, "float32", images, "H100"),
        trained_hours(Backbone(name="test_resnet", learning_rate=1e-4), 32, "float32", images, "H100"),
    ):
        assert taken.basis == "assumed" and "peak in tf32" in taken.why


def test_an_unknown_card() -> None:
    with pytest.raises(ConfigError, match="--gpu TPU: expected one of H100, H200, A100, L40S, L4, RTX 3090"):
        card("TPU")
    assert card("rtx 3090").memory == 24
