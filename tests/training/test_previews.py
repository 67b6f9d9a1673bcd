"""What is drawn on the way, and what no family could draw."""

from pathlib import Path
from typing import Any

import pytest

from dermray.config import ConfigError, validate
from dermray.generators.base import Request
from dermray.training.previews import PreviewConfig, preview_requests
from dermray.training.settings import TrainConfig


def test_every_preview_has_the_size_and_the_negative_prompt() -> None:
    config = PreviewConfig(prompts=["a", "b"], seeds=[3, 4], size=64, negative_prompt="ruler")
    assert list(preview_requests(config, "", 0).values()) == [
        Request(prompt, seed, 64, "ruler") for prompt in ("a", "b") for seed in (3, 4)
    ]
    assert set(preview_requests(PreviewConfig(prompts=["a"]), "", 0).values()) == {Request("a", 0)}


@pytest.mark.parametrize(
    ("family", "previews", "message"),
    [
        ("stable_diffusion", {"size": 96, "negative_prompt": "ruler"}, None),
        ("latent_diffusion", {"size": 64}, None),
        ("flux_lora", {"size": 96}, None),
        ("pixel_dermdit", {"size": 64}, None),
        ("pixel_dermdit", {"size": 96}, "previews.size=96: family pixel_dermdit draws 64 px alone; leave it out"),
        ("dermdit", {"size": 96}, "family dermdit draws 64 px alone"),
        ("flux_lora", {"size": 100}, "previews.size=100: expected a multiple of 32 px"),
        ("flux_lora", {"size": 100000}, "previews.size=100000: expected a multiple of 32 px, at most 2048"),
        ("flux_lora", {"clip_revision": "main"}, "previews.clip_revision=main: there is no previews.clip; give both"),
        ("flux_lora", {"negative_prompt": "ruler"}, "negative_prompt='ruler': family flux_lora is guided away from no"),
        ("glide", {"negative_prompt": "ruler"}, "negative_prompt='ruler': family glide"),
        ("stable_diffusion", {"negative_prompt": "ruler", "guidance_scale": 1}, "guidance_scale=1 guides nowhere"),
    ],
)
def test_what_a_family_cannot_draw_is_refused_with_the_config(
    family: str, previews: dict[str, Any], message: str | None, tmp_path: Path
) -> None:
    """So before Ray starts."""
    config = {"output": str(tmp_path), "rows": "x", "family": family, "loop": {"steps": 1}, "previews": previews}
    config |= {"model": {"image_size": 64}}
    if message is None:
        assert validate(TrainConfig, config).previews == PreviewConfig(**previews)
        return
    with pytest.raises(ConfigError, match=message):
        validate(TrainConfig, config)
