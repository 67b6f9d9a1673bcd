"""Captions that a generator cannot read are no prompts."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from dermray.config import validate
from dermray.generators.base import family
from dermray.generators.coverage import coverage
from dermray.manifest import Manifest, Result, Rows
from dermray.records import CAPTIONED, conform, read_columns
from dermray.synthesis import planning
from dermray.synthesis.cells import Over
from dermray.synthesis.deal import Deal
from dermray.synthesis.plan import PLAN, captions_of, indexed, requests
from dermray.synthesis.planning import Drawable, planned_here, write_plan
from dermray.synthesis.preview import in_words
from dermray.synthesis.settings import SynthesisConfig
from dermray.synthesis.survey import Survey, settle
from dermray.training.run import load_readers
from tests.generators.conftest import CAPTIONS

MODEL: dict[str, Any] = {"image_size": 16, "stem_width": 8, "width": 32, "blocks": 1, "caption_length": 5}
ENGLISH = [("benign red", False), ("malignant black", True)]
LABELS = Over(("malignant",), frozenset())


def config_of(**given: Any) -> SynthesisConfig:
    over = {"mode": "balanced", "over": ["malignant"]}
    return validate(SynthesisConfig, {"output": "o", "generator": "g", "rows": "r", "plan": over} | given)


def drawable(generator: Result, rows: str) -> Drawable:
    return Drawable(generator, rows, ("malignant",), (64,))


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
    monkeypatch.setattr(planning, "FILES_PER_SCAN", 2)
    plans = []
    for size in (2, 5, 100):
        monkeypatch.setattr(planning, "REQUESTS_PER_BLOCK", size)
        settled, text = write_plan(drawable(generator, str(rows)), str(target), config_of(count=6))
        told = [(cell.name, cell.real, cell.captions, cell.asked) for cell in settled.cells]
        assert told == [("benign", 4, 2, 3), ("malignant", 3, 2, 3)]
        assert settled.left_out == 3 and "3 captions that are mostly unknown words" in settled.warnings[-1]
        assert text["words"].texts == 6 and text["words"].unknown_words == 0
        assert len(list(target.iterdir())) == -(-6 // size), "what an earlier start wrote is gone"
        plans.append(read_columns(str(target), PLAN.names).sort_by("plan_id"))
    assert sorted(plans[0]["prompt"].to_pylist()) == ["benign red"] * 3 + ["malignant black"] * 3
    assert plans[0].equals(plans[1]) and plans[0].equals(plans[2]), "in however many blocks it is made"
    _, here = planned_here(drawable(generator, str(rows)), config_of(count=6), 4)
    assert here.drop_columns("image_size").equals(plans[0].slice(0, 4)), "the preview is of this plan"


def test_a_preview_in_words(tmp_path: Path, generator: Result) -> None:
    for captions in (ENGLISH, FOREIGN, ENGLISH):
        written(tmp_path / "rows", captions)
    config = config_of(plan={"mode": "fill_up", "over": ["malignant", "sex"], "to": 1200}, prompts="captions")
    with pytest.raises(ValueError, match="no training caption has a known sex"):
        planned_here(drawable(generator, str(tmp_path / "rows")), config, 2)
    config = config_of(plan={"mode": "fill_up", "over": ["malignant"], "to": 1200}, images_per_caption=1000)
    settled, requests = planned_here(drawable(generator, str(tmp_path / "rows")), config, 2)
    lines = in_words(settled, requests).splitlines()
    assert lines[:5] == [
        "cell         real rows  captions  asked",
        "benign               4         2  1,196",
        "malignant            3         2  1,197",
        "all 2 cells          7         4  2,393",
        "warning: 3 captions that are mostly unknown words are no prompts",
    ]
    one = requests.to_pylist()[0]
    assert lines[5:8] == ["", f"0000000000  64 x 64 px, seed {one['seed']}", f"  {one['prompt']}"]
    assert len(lines) == 11


def test_what_is_lost_of_the_prompts_is_counted(tmp_path: Path, generator: Result) -> None:
    file = written(tmp_path / "rows", [("red red red red zebra okapi", False), ("malignant black", True)])
    readers = load_readers(generator)
    captions = indexed([captions_of([file], 0, readers, LABELS)])
    prompts = requests(captions.cells, [file], Deal(np.array([3, 3]), True), range(6), 0)["prompt"].to_pylist()
    part = coverage(readers, prompts)["words"]
    assert (captions.left_out, part.texts, part.cut, part.cut_off, part.unknown_words) == (0, 6, 3, 3, 6)


def test_a_cell_without_a_prompt_is_refused_by_name(tmp_path: Path, generator: Result) -> None:
    file = written(tmp_path / "rows", [("benign red", False), ("меланома", True)])
    captions = indexed([captions_of([file], 0, load_readers(generator), LABELS)])
    with pytest.raises(ValueError, match=r"cells \['malignant'\] can be a prompt.*'меланома'"):
        settle(config_of(), Survey.of(captions), ("malignant",))
