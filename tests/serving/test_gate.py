"""A gate that cannot be opened is told before a service starts; replicas get its place, whatever they work in."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dermray.config import validate
from dermray.datasets.renderer import draw_phantoms
from dermray.manifest import Manifest, Rows
from dermray.serving.app import build
from dermray.serving.drawing.gate import Gate, open_gate
from dermray.serving.opening import place_of
from dermray.serving.settings import ServiceConfig
from dermray.synthesis.gate.index import ABOUT
from dermray.synthesis.gate.stage import FOLDER
from tests.serving.models import write_generator
from tests.synthesis.gate.conftest import make


@pytest.fixture
def served(tmp_path: Path) -> dict[str, str]:
    """A generator, and a generate stage's result with its gate."""
    write_generator(tmp_path / "pixel")
    images = torch.from_numpy(np.stack([drawn.image for _, drawn in draw_phantoms(7, 4, 32)])).permute(0, 3, 1, 2)
    make(tmp_path / "drawn" / "data" / FOLDER, images.contiguous())
    version = place_of(str(tmp_path / "pixel"), "generation").version
    about = Manifest(
        stage="generate", key="k", config={}, inputs={"generator": version}, data="data",
        rows=Rows(rows_in=4, ok=4, rejected=0, failed=0), metrics={"gate": {"calibration": {"false_rate": 0.01}}},
        versions={}, started=0, seconds=0, cpus=0, gpus=0,
    )  # fmt: skip
    (tmp_path / "drawn" / "manifest.json").write_text(about.model_dump_json())
    return {"model": str(tmp_path / "pixel"), "gate": str(tmp_path / "drawn")}


def service(served: dict[str, str]) -> Any:
    model = {"task": "generation", "name": "pixel"} | served
    return build(validate(ServiceConfig, {"models": [model]}))


def test_replicas_get_the_gates_absolute_place(served: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(served["gate"]).parent)
    bound = service(served | {"gate": "drawn"})._bound_deployment.init_args[1]["pixel"]
    assert bound._bound_deployment.init_args[0].gate == served["gate"]


def test_a_gate_that_is_gone_is_told_before_anything_starts(served: dict[str, str]) -> None:
    drawn = Path(served["gate"])
    moved = drawn.rename(drawn.with_name("moved"))
    with pytest.raises(FileNotFoundError, match="drawn: does not exist; run the generate stage first"):
        service(served)
    version = place_of(served["model"], "generation").version
    assert service(served | {"gate": str(moved)}) and isinstance(open_gate(str(moved), version), Gate)
    index = moved / "data" / FOLDER / ABOUT
    index.write_text(index.read_text().replace('"version": 1', '"version": 0'))
    with pytest.raises(ValueError, match="an index of version 0, and this dermray reads version 1"):
        service(served | {"gate": str(moved)})
    shutil.rmtree(moved / "data" / FOLDER)
    with pytest.raises(FileNotFoundError, match="no index of training images there; run the generate stage again"):
        service(served | {"gate": str(moved)})


def test_a_gate_of_another_generator_is_told_before_anything_starts(served: dict[str, str], tmp_path: Path) -> None:
    write_generator(tmp_path / "other")
    (tmp_path / "other" / "note.txt").write_text("other files")
    with pytest.raises(ValueError, match="drawn by the generator with key .* and the served one is"):
        service(served | {"model": str(tmp_path / "other")})
