"""Images of several adapters and of the base at one easel: each as it is drawn alone, to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dermray.generators.adapter_rack import AdapterRack
from dermray.generators.adapters import LORA_FILE
from dermray.generators.base import Request, family
from dermray.serving.drawing.easel import Easel, Step, Wanted
from tests.serving.models import PROMPT, drawn_alone, write_lora

SD = {"one": {"rank": 2, "alpha": 2, "train_text_encoder": True}, "two": {"rank": 8, "train_text_encoder": False}}


@pytest.fixture(scope="module")
def stable_diffusion(loras: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base without a trained text encoder, an adapter that has one, and another."""
    place = tmp_path_factory.mktemp("sd")
    write_lora(place / "base", "stable_diffusion_lora", seed=6, train_text_encoder=False)
    for number, (name, settings) in enumerate(SD.items()):
        write_lora(place / name, "stable_diffusion_lora", seed=7 + number, **settings)
    return place


@pytest.mark.parametrize("name", ["flux_lora", "stable_diffusion_lora"])
def test_in_any_company(name: str, loras: Path, stable_diffusion: Path) -> None:
    place, names = (loras, ("red", "wide")) if name == "flux_lora" else (stable_diffusion, ("one", "two"))
    cls: Any = family(name)
    generator, steps = cls.load(place / "base").eval(), list[Step]()
    generator.rows = 4
    rack = AdapterRack(generator)
    easel = Easel(generator, 4, steps.append, rack.use)
    try:
        wanted = [(adapter, seed) for seed in (1, 2) for adapter in ("base", *names)]
        layers = {n: rack.read((place / n / LORA_FILE).read_bytes(), n) for n in names}
        slots = {n: easel.between_steps(lambda n=n: rack.hang(layers[n])).result(60) for n in names}  # type: ignore[misc]
        drawn = {}
        for adapter, seed in wanted:
            image = Wanted(Request(PROMPT, seed), 2.0, 3, slots.get(adapter))
            [drawn[adapter, seed]] = easel.draw([image], f"{adapter}{seed}")
        images = {one: future.result(120) for one, future in drawn.items()}
    finally:
        easel.close()
    assert max(step.images for step in steps) <= 2 and sum(step.images for step in steps) == 18
    for adapter, seed in wanted:
        assert np.array_equal(images[adapter, seed], drawn_alone(place / adapter, PROMPT, seed, 3)), (adapter, seed)
    assert len({images[one].tobytes() for one in wanted}) == 6
