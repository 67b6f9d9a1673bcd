"""Captions that a generator cannot read are no prompts."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dermray import manifest
from dermray.generators.base import family
from dermray.manifest import Manifest, Result, Rows
from dermray.records import CAPTIONED, conform
from dermray.synthesis.run import SynthesisConfig, _write_plan
from tests.generators.conftest import CAPTIONS

MODEL: dict[str, Any] = {"image_size": 16, "stem_width": 8, "width": 32, "blocks": 1, "caption_length": 5}
ENGLISH = [("benign red", False), ("malignant black", True)]


@pytest.fixture
def generator(tmp_path: Path) -> Result:
    """A finished training on two captions."""
    cls = family("pixel_dermdit")
    cls.from_captions(cls.Config(**MODEL), CAPTIONS).save(tmp_path / "train" / "data-x" / "model")
    about = Manifest(
        stage="train", key="x", config={"family": "pixel_dermdit", "model": MODEL}, inputs={}, data="data-x",
        rows=Rows(rows_in=2, ok=2, rejected=0, failed=0), versions={}, started=0, seconds=0, cpus=1, gpus=0,
    )  # fmt: skip
    return Result(str(tmp_path / "train"), about)


def written(directory: Path, captions: list[tuple[str, bool]]) -> str:
    directory.mkdir()
    rows = [
        {"sample_id": f"s{i}", "caption": caption, "malignant": malignant, "split": "train", "status": "ok"}
        for i, (caption, malignant) in enumerate(captions)
    ]
    pq.write_table(conform(rows, CAPTIONED), directory / "rows.parquet")
    return str(directory)


def plan(tmp_path: Path, generator: manifest.Result, captions: list[tuple[str, bool]]) -> Any:
    config = SynthesisConfig(output="o", generator="g", rows="r", count=6)
    made = _write_plan(written(tmp_path / "rows", captions), str(tmp_path / "plan"), generator, config)
    return made, pq.read_table(tmp_path / "plan" / "plan.parquet")["prompt"].to_pylist()


def test_captions_of_unknown_words_are_left_out_and_counted(tmp_path: Path, generator: Result) -> None:
    foreign = [("меланома", True), ("невус", False), ("невус", False)]
    (cells, text, left_out), prompts = plan(tmp_path, generator, ENGLISH + foreign)
    assert left_out == 3 and sorted(prompts) == ["benign red"] * 3 + ["malignant black"] * 3
    assert set(cells.values()) == {3} and text["words"].unknown_words == 0


def test_what_is_lost_of_the_prompts_is_counted(tmp_path: Path, generator: Result) -> None:
    long = [("red red red red zebra okapi", False), ("malignant black", True)]
    (_, text, left_out), _ = plan(tmp_path, generator, long)
    part = text["words"]
    assert (left_out, part.texts, part.cut, part.cut_off, part.unknown_words) == (0, 6, 3, 3, 6)


def test_a_cell_without_a_prompt_is_refused_by_name(tmp_path: Path, generator: Result) -> None:
    with pytest.raises(ValueError, match=r"cells \['malignant, skin tone unknown'\] can be a prompt.*'меланома'"):
        plan(tmp_path, generator, [("benign red", False), ("меланома", True)])
