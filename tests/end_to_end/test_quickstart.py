"""What issue and README promise of the main job, on the real preset."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

from dermray import manifest
from dermray.classification.arms import ArmSettings, arms_of
from dermray.datasets.decode import decode
from dermray.datasets.splits import check_leaks
from dermray.generators.base import Request
from dermray.records import CAPTIONED, IMAGES, SYNTHETIC, read_columns
from dermray.training.run import load_generator
from dermray.vlm import nano
from tests.conftest import call_cli
from tests.quickstart import ROOT, Quickstart

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def summary(quickstart: Quickstart) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((quickstart.directory / "summary.json").read_text())
    return found


def rows_of(run: Path, stage: str) -> str:
    return f"{manifest.read(str(run / stage)).data}/rows"


def test_the_second_start_went_on_from_the_last_checkpoint(quickstart: Quickstart) -> None:
    for stage in ("ingest", "captioner", "caption"):
        assert re.search(rf"\] {stage}: .*already done", quickstart.output)
    training = manifest.read(str(quickstart.directory / "train")).manifest.metrics["training"]
    assert training["resumed_from"] >= 100


def test_every_row_is_accounted_for(summary: dict[str, Any], quickstart: Quickstart) -> None:
    for name, stage in summary["stages"].items():
        assert stage["rows_in"] == stage["ok"] + stage["rejected"] + stage["failed"] > 0, name
    assert summary["stages"]["ingest"]["rejected"] > 10, "repeated and broken phantoms"
    assert summary["stages"]["caption"]["rows_in"] == summary["stages"]["ingest"]["ok"]
    for stage, schema in (("ingest", IMAGES), ("caption", CAPTIONED), ("generate", SYNTHETIC)):
        table = read_columns(rows_of(quickstart.directory, stage), schema.names)
        assert len(table) == summary["stages"][stage]["rows_in"]
        assert table.schema.types == schema.types
        usable = table.filter(pc.equal(table["status"], "ok"))
        assert len(set(usable["sample_id"].to_pylist())) == len(usable)


def test_captions_are_true(summary: dict[str, Any]) -> None:
    accuracy = summary["stages"]["caption"]["attribute_accuracy"]
    assert accuracy["images"] >= 512
    assert accuracy["mean"] >= 0.92
    assert accuracy.keys() >= {"asymmetry", "border", "colours", "skin_tone"}


def test_the_generator_draws_what_it_is_asked_for(summary: dict[str, Any]) -> None:
    [generation] = summary["stages"]["evaluate"]["sources"].values()
    assert generation["attribute_accuracy"]["mean"] >= 0.78
    assert generation["frechet_distance"] <= 12 * generation["frechet_floor"]


def test_the_sweep_is_paired_and_its_controls_come_out(summary: dict[str, Any]) -> None:
    sweep = summary["stages"]["sweep"]
    trials = {(t["arm"], t["backbone"], t["seed"]) for t in sweep["trials"]}
    assert len(trials) == len(sweep["trials"]) == len(arms_of(ArmSettings())) * 8
    assert all(0 <= t["metrics"]["auc"] <= 1 and set(t["metrics"]["groups"]) == set("ABC") for t in sweep["trials"])
    verdict = {v["better"] + " > " + v["worse"]: v for v in sweep["verdict"]}
    assert verdict["real only > shuffled labels"]["came_out"]
    assert verdict["more real > real only"]["came_out"]


def test_memory(summary: dict[str, Any]) -> None:
    assert 1 << 30 < summary["peak_rss_bytes"] < 8 << 30


def test_no_patient_lies_in_two_splits(quickstart: Quickstart) -> None:
    usable = pc.field("status") == "ok"
    table = read_columns(rows_of(quickstart.directory, "caption"), ["patient_id", "leak_group", "split"], usable)
    for name in ("patient_id", "leak_group"):
        check_leaks(zip(table[name].to_pylist(), table["split"].to_pylist(), strict=True))


def test_vllm_answers_as_transformers_does(quickstart: Quickstart) -> None:
    result = manifest.read(str(quickstart.directory / "captioner"))
    model, processor = nano.load(Path(result.data) / "model")
    table = read_columns(rows_of(quickstart.directory, "caption"), ["image", "answer"], pc.field("status") == "ok")
    table = table.slice(0, 96)
    said = nano.greedy(model.eval(), processor, [decode(image) for image in table["image"].to_pylist()])
    equal = [a.strip() == b for a, b in zip(said, table["answer"].to_pylist(), strict=True)]
    assert np.mean(equal) >= 0.98


def test_a_synthetic_image_can_be_drawn_again_from_its_row(quickstart: Quickstart) -> None:
    columns = ["image", "prompt", "seed", "guidance_scale", "sampling_steps", "prompt_sample_id", "status", "split"]
    drawn = read_columns(rows_of(quickstart.directory, "generate"), columns).slice(0, 3).to_pylist()
    generator = load_generator(manifest.read(str(quickstart.directory / "train")))
    train = read_columns(rows_of(quickstart.directory, "caption"), ["sample_id"], pc.field("split") == "train")
    for row in drawn:
        pixels = generator.sample([Request(row["prompt"], row["seed"])], row["guidance_scale"], row["sampling_steps"])
        difference = pixels[0].permute(1, 2, 0).numpy().astype(int) - np.asarray(decode(row["image"]), int)
        assert np.abs(difference).max() <= 2
        assert row["prompt_sample_id"] in set(train["sample_id"].to_pylist())


def test_no_word_of_the_quickstart_is_lost(quickstart: Quickstart) -> None:
    train, generate = (manifest.read(str(quickstart.directory / name)).manifest for name in ("train", "generate"))
    for stage, texts in ((train, train.rows.ok), (generate, generate.rows.rows_in)):
        read = stage.metrics["text"]["words"]
        assert read["texts"] == texts > 0 and read["longest"] <= read["limit"] == 40
        assert read["cut"] == read["unknown_words"] == read["wordless"] == 0
    assert generate.metrics["captions_left_out"] == 0
    assert "Text that the generator read" in (quickstart.directory / "report.html").read_text()


def test_a_run_can_be_moved(quickstart: Quickstart, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(quickstart.directory, moved)
    preset = str(ROOT / "jobs/configs/pipeline/quickstart.yaml")
    code, said, errors = call_cli(capsys, "run", "--config", preset, f"output={moved}")
    assert code == 0, errors
    assert said.count("already done") == 7


def test_another_config_does_not_overwrite_a_run(quickstart: Quickstart, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = call_cli(capsys, "quickstart", f"output={quickstart.directory}", "stages.ingest.seed=5")
    assert code == 1 and "seed: 0 then, 5 now" in said and "choose another output" in said


def test_tensorboard_logs_of_every_trial(quickstart: Quickstart) -> None:
    trials = list((quickstart.directory / "sweep").glob("data-*/tune/*/*/events.out.tfevents.*"))
    assert len(trials) == len(arms_of(ArmSettings())) * 8


def test_the_report_is_self_contained_and_says_what_came_out(quickstart: Quickstart, summary: dict[str, Any]) -> None:
    page = (quickstart.directory / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:|#)", page), "all but places of its own"
    assert page.count('src="data:image/') >= 14
    assert page.count("no: not shown here") == sum(not v["came_out"] for v in summary["stages"]["sweep"]["verdict"])
    assert "not a clinical" in page.lower() or "nothing here is a clinical result" in page.lower()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_report_in_a_browser(quickstart: Quickstart, tmp_path: Path) -> None:
    shot = tmp_path / "report.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    subprocess.run(
        ["chromium", *flags, f"--user-data-dir={tmp_path}/p", "--window-size=1040,3000", f"--screenshot={shot}",
         f"file://{quickstart.directory}/report.html"], check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    picture = np.asarray(Image.open(shot).convert("L"))
    assert picture.shape == (3000, 1040) and picture.std() > 20
