"""Settings that do not go together."""

from pathlib import Path
from typing import Any

import pytest

from dermray.config import ConfigError
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
    ],
)
def test_what_does_not_go_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(Path("base"), **changes)
