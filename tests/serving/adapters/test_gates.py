"""An adapter's gate is its own: the base's says nothing of what it learned from."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dermray.config import validate
from dermray.datasets.renderer import draw_phantoms
from dermray.manifest import Manifest, Rows
from dermray.serving.adapters.place import AdapterPlace, place_of_adapter
from dermray.serving.app import build
from dermray.serving.drawing.gate import Gate
from dermray.serving.generation import Drawing, Generation
from dermray.serving.settings import ServedAdapter, ServiceConfig
from dermray.synthesis.gate.stage import FOLDER
from tests.serving.models import as_result
from tests.synthesis.gate.conftest import make


def images(seed: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([drawn.image for _, drawn in draw_phantoms(seed, 4, 32)])).permute(0, 3, 1, 2)


def drawn_by(place: Path, version: str, seed: int) -> str:
    """A generate stage's result whose gate guards the images of a seed."""
    make(place / "data" / FOLDER, images(seed).contiguous())
    about = Manifest(
        stage="generate", key="k", config={}, inputs={"generator": version}, data="data",
        rows=Rows(rows_in=4, ok=4, rejected=0, failed=0), metrics={"gate": {"calibration": {"false_rate": 0.01}}},
        versions={}, started=0, seconds=0, cpus=0, gpus=0,
    )  # fmt: skip
    (place / "manifest.json").write_text(about.model_dump_json())
    return str(place)


def test_each_has_its_own_before_anything_starts(loras: Path, tmp_path: Path) -> None:
    base, red = (str(as_result(tmp_path / name, loras / name, f"{name}key", [])) for name in ("base", "red"))
    of_base, of_red = drawn_by(tmp_path / "b", "basekey", 7), drawn_by(tmp_path / "r", "redkey", 8)

    def built(adapter: dict[str, str]) -> Any:
        model = {"task": "generation", "name": "flux", "model": base, "gate": of_base, "adapters": {"red": adapter}}
        return build(validate(ServiceConfig, {"models": [model]}))

    assert built({"place": red, "gate": of_red})
    with pytest.raises(ValueError, match=r"adapters\.red: gate=.*: drawn by the generator with key basekey"):
        built({"place": red, "gate": of_base})
    found = place_of_adapter("red", ServedAdapter(place=red, gate=of_red))
    assert found.gate == str(tmp_path / "r" / "data" / FOLDER)


def test_images_pass_the_gate_of_what_drew_them(loras: Path, tmp_path: Path) -> None:
    of_base, of_red = (drawn_by(tmp_path / name, name, seed) for name, seed in (("base", 7), ("red", 8)))
    gates = [Gate(f"{place}/data/{FOLDER}") for place in (of_base, of_red)]
    replica: Any = object.__new__(Generation.func_or_class)  # type: ignore[attr-defined]
    replica.gate, replica.family, replica.signer, replica.licence = gates[0], "flux_lora", None, "CC0-1.0"
    replica.place, replica.model = SimpleNamespace(version="v"), SimpleNamespace(name="flux")
    adapter = AdapterPlace("red", "f", "w", "w", "MIT")
    held: Any = {gate: SimpleNamespace(adapter=adapter, gate=gate) for gate in (None, gates[1])}
    learned = {seed: images(seed)[0].permute(1, 2, 0).numpy() for seed in (7, 8)}
    drawing = Drawing("red.", [1], 1.0, 1)
    refused = lambda held, seed: replica._finish(drawing, held, 1, learned[seed]).png is None  # noqa: E731
    assert refused(None, 7) and not refused(None, 8)
    assert refused(held[gates[1]], 8) and not refused(held[gates[1]], 7)
    ungated = replica._finish(drawing, held[None], 1, learned[7])
    assert ungated.png is not None and ungated.distance is None
