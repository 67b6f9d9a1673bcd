"""Settings that do not go together."""

from pathlib import Path
from typing import Any

import pytest

from dermray.config import ConfigError, validate
from dermray.reference.configs import described
from dermray.vlm.tuning.settings import TuneConfig
from tests.vlm.tuning.tasks import config_of


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": []}, "parts=.*at least 1"),
        ({"parts": ["projector", "projector"]}, "one is named twice"),
        ({"parts": ["eyes"]}, "parts"),
        ({"validation_samples": 0, "loop": {"keep_best": True}}, r"loop.keep_best=true: needs a validation loss"),
        ({"method": "full", "start_from": "x"}, "start_from: an adapter goes on with method=lora"),
        ({"method": "full", "lora": {"rank": 3}}, "method=full: .* leave lora out"),
        ({"start_from": "x", "lora": {"rank": 3}}, "start_from: .* leave lora out"),
        ({"dtype": "bf16"}, r"dtype=bf16: goes with loop.precision=bf16, got fp32"),
        ({"loop": {"compile": True}}, r"loop.compile=true"),
        ({"learn": {"prompt_set": "x"}}, "prompt_set='x': expected one of"),
        ({"learn": {"answers": "attributes", "prompt_set": "attributes-5"}}, "its question names the skin tone"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(Path("base"), **changes)


def test_defaults_are_those_of_tuning_and_not_of_a_generator_from_scratch() -> None:
    given = {"output": "o", "rows": "r", "base": "b", "loop": {"steps": 1}}
    loop = validate(TuneConfig, given).loop
    assert (loop.learning_rate, loop.schedule, loop.decay_from, loop.ema_decay) == (2e-4, "cosine", 0.0, 0.0)
    lion = validate(TuneConfig, given | {"loop": {"steps": 1, "optimizer": "lion"}}).loop
    assert lion.learning_rate == 2e-5
    shown = described("tune-vlm", None, as_schema=False)
    assert "schedule: cosine" in shown and "batch_size: 16" in shown
