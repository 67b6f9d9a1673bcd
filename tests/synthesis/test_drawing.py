"""What an actor draws of a request does not depend on the block that the request came in."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from dermray.config import validate
from dermray.generators.base import family
from dermray.manifest import Manifest, Result, Rows
from dermray.synthesis import drawing
from dermray.synthesis.drawing import Draw
from dermray.synthesis.plan import PLAN
from dermray.synthesis.settings import SynthesisConfig
from tests.generators.conftest import CAPTIONS, shaken

MODEL: dict[str, Any] = {"image_size": 32, "stem_width": 8, "width": 32, "blocks": 1}
BATCH, COUNT = 3, 24
CONFIG = {"output": "o", "generator": "g", "rows": "r", "batch_size": BATCH, "sampling_steps": 30, "count": COUNT}


class NoGate:
    """In the gate's place: this test is about what is drawn."""

    def __init__(self, place: str, device: str) -> None: ...

    def seen(self, images: torch.Tensor) -> list[None]:
        return [None] * len(images)

    def reason(self, seen: None) -> None: ...

    def columns(self, seen: None) -> dict[str, Any]:
        return {}


@pytest.fixture
def actor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Draw:
    """Of a generator that magnifies rounding until it shows in pixels."""
    cls = family("pixel_dermdit")
    torch.manual_seed(0)
    shaken(cls.from_captions(cls.Config(**MODEL), CAPTIONS), 0.2).save(tmp_path / "train" / "data-x" / "model")
    about = Manifest(
        stage="train", key="x", config={"family": "pixel_dermdit", "model": MODEL}, inputs={}, data="data-x",
        rows=Rows(rows_in=2, ok=2, rejected=0, failed=0), versions={}, started=0, seconds=0, cpus=1, gpus=0,
    )  # fmt: skip
    monkeypatch.setattr(drawing, "Gate", NoGate)
    monkeypatch.setattr(drawing, "count_rows", lambda stage, rows: None)
    return Draw(Result(str(tmp_path / "train"), about), "gate", ["CC0-1.0"], validate(SynthesisConfig, CONFIG))


@pytest.mark.slow
def test_bits_do_not_depend_on_the_block(actor: Draw) -> None:
    empty = dict.fromkeys(PLAN.names)
    requests = [
        empty | {"plan_id": f"{i:010d}", "prompt": CAPTIONS[i % 2], "seed": i, "image_size": 32} for i in range(COUNT)
    ]
    table = pa.Table.from_pylist(requests, PLAN.append(pa.field("image_size", pa.int64())))

    def drawn(size: int) -> list[str]:
        blocks = [actor(table.slice(first, size)) for first in range(0, COUNT, size)]
        names: list[str] = pa.concat_tables(blocks)["sample_id"].to_pylist()
        return names

    whole = drawn(BATCH)
    assert len(set(whole)) == COUNT
    assert drawn(1) == whole and drawn(5) == whole
    actor.generator.rows = None
    assert drawn(BATCH) != whole, "so this test sees the rounding that other batches have"
