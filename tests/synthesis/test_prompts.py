"""Captions that a generator cannot read are no prompts."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dermray.generators.base import family
from dermray.generators.coverage import coverage
from dermray.manifest import Manifest, Result, Rows
from dermray.records import CAPTIONED, conform, read_columns
from dermray.synthesis import run as synthesis
from dermray.synthesis.plan import PLAN, captions_of, indexed, requests
from dermray.synthesis.run import SynthesisConfig, _write_plan
from dermray.training.run import load_readers
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
    """A file of captions with their labels."""
    directory.mkdir(exist_ok=True)
    rows = [
        {"sample_id": f"s{i}", "caption": caption, "malignant": malignant, "split": "train", "status": "ok"}
        for i, (caption, malignant) in enumerate(captions, start=100 * len(list(directory.iterdir())))
    ]
    file = f"{directory}/{len(list(directory.iterdir()))}.parquet"
    pq.write_table(conform(rows, CAPTIONED), file)
    return file


FOREIGN = [("меланома", True), ("невус", False), ("невус", False)]


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_captions_of_unknown_words_are_left_out_and_counted(
    tmp_path: Path, generator: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, target = tmp_path / "rows", tmp_path / "plan"
    for captions in (ENGLISH, FOREIGN, ENGLISH):
        written(rows, captions)
    monkeypatch.setattr(synthesis, "FILES_PER_SCAN", 2)
    plans = []
    for size in (2, 5, 100):
        monkeypatch.setattr(synthesis, "REQUESTS_PER_BLOCK", size)
        config = SynthesisConfig(output="o", generator="g", rows="r", count=6)
        cells, text, left_out = _write_plan(str(rows), str(target), generator, config, (64,))
        assert left_out == 3 and cells == {"benign, skin tone unknown": 3, "malignant, skin tone unknown": 3}
        assert text["words"].texts == 6 and text["words"].unknown_words == 0
        assert len(list(target.iterdir())) == -(-6 // size), "what an earlier start wrote is gone"
        plans.append(read_columns(str(target), PLAN.names).sort_by("plan_id"))
    assert sorted(plans[0]["prompt"].to_pylist()) == ["benign red"] * 3 + ["malignant black"] * 3
    assert plans[0].equals(plans[1]) and plans[0].equals(plans[2]), "in however many blocks it is made"


def test_what_is_lost_of_the_prompts_is_counted(tmp_path: Path, generator: Result) -> None:
    file = written(tmp_path / "rows", [("red red red red zebra okapi", False), ("malignant black", True)])
    readers = load_readers(generator)
    captions = indexed([captions_of([file], 0, readers)])
    prompts = requests(captions.cells, [file], range(6), 0)["prompt"].to_pylist()
    part = coverage(readers, prompts)["words"]
    assert (captions.left_out, part.texts, part.cut, part.cut_off, part.unknown_words) == (0, 6, 3, 3, 6)


def test_a_cell_without_a_prompt_is_refused_by_name(tmp_path: Path, generator: Result) -> None:
    file = written(tmp_path / "rows", [("benign red", False), ("меланома", True)])
    parts = [captions_of([file], 0, load_readers(generator))]
    with pytest.raises(ValueError, match=r"cells \['malignant, skin tone unknown'\] can be a prompt.*'меланома'"):
        indexed(parts)
