"""A stage that draws what its plan says, each line once."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray import cluster
from dermray.config import validate
from dermray.failures import plain_cause
from dermray.generators.base import FAMILIES, family
from dermray.page_index import PagedColumn
from dermray.provenance import reading, text
from dermray.provenance.export import export
from dermray.provenance.settings import ExportConfig
from dermray.records import read_columns
from dermray.synthesis import drawing
from dermray.synthesis import run as synthesis
from dermray.synthesis.settings import SynthesisConfig
from dermray.training.run import image_size
from tests.conftest import call_cli
from tests.provenance.certificates import signer
from tests.tampering import double_a_row, lose_a_row


@pytest.mark.parametrize("name", list(FAMILIES))
def test_sizes_go_to_families_that_draw_any(name: str) -> None:
    trained: Any = SimpleNamespace(manifest=SimpleNamespace(config={"family": name, "model": {}}))
    own = image_size(trained)

    def sizes(*asked: int) -> tuple[int, ...]:
        config = {"output": "o", "generator": "g", "rows": "r", "sizes": asked}
        return synthesis._sizes(validate(SynthesisConfig, config), trained)

    assert sizes() == (own,)
    if family(name).any_size:
        assert sizes(32, 96) == (32, 96)
        with pytest.raises(ValueError, match=r"sizes=\[32, 100\]: expected multiples of 32 px, got \[100\]"):
            sizes(32, 100)
    else:
        with pytest.raises(ValueError, match=f"a generator of family {name} draws {own} px alone; leave it out"):
            sizes(96)


@pytest.mark.slow
def test_a_line_of_the_plan_lost_or_drawn_twice_is_no_result(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"generator": f"{small_run}/train", "rows": f"{small_run}/caption", "count": 8, "sampling_steps": 1,
              "batch_size": 4, "actors": 1, "gate": {"false_rate": 0, "training_steps": 10, "planted": 2}}  # fmt: skip
    draw = drawing.draw

    def generate(output: str, tamper: Any) -> Any:
        def tampered(plan: str, target: str, *arguments: Any) -> None:
            draw(plan, target, *arguments)
            tamper(target.removesuffix("/rows"))

        with monkeypatch.context() as patch:
            patch.setattr(synthesis, "draw", tampered)
            return synthesis.run(validate(SynthesisConfig, config | {"output": f"{tmp_path}/{output}"}))

    with pytest.raises(Exception, match="No manifest") as refused:
        generate("double", double_a_row)
    assert "1 occur more than once, such as 000000000" in str(plain_cause(refused.value))
    with pytest.raises(Exception, match="No manifest") as refused:
        generate("lost", lose_a_row)
    assert "1 of 8 rows are missing, such as 000000000" in str(plain_cause(refused.value))
    assert not (tmp_path / "lost" / "manifest.json").exists()
    kept = rows(next((tmp_path / "lost").glob("data-*")))
    result = generate("lost", lambda data: None)
    assert result.manifest.rows.rows_in == 8
    for row in read_columns(f"{result.data}/rows", ["image", "prompt", "seed", "licence"]).to_pylist():
        said = text.read(row["image"])
        assert (said["prompt"], said["seed"], said["licence"]) == (row["prompt"], str(row["seed"]), row["licence"])
        assert said["generator"] == result.manifest.inputs["generator"] and said["origin"] == "synthetic"
    config = {"images": result.uri, "output": f"{tmp_path}/files", "provenance": signer(tmp_path / "signer").config}
    done = export(validate(ExportConfig, config))
    files = list((tmp_path / "files" / "images").glob("*.png"))
    assert len(files) == done.images == result.manifest.rows.ok
    assert {reading.read(file.read_bytes()).state for file in files} == {"Valid"}
    drawn = rows(Path(result.data))
    files = list(Path(result.data, "rows").rglob("*.parquet"))
    assert any(PagedColumn.open(pa.OSFile(str(f)), pq.ParquetFile(f), "image") for f in files), "not the tampered one"
    assert len(drawn) == 8 and kept.items() <= drawn.items(), "what was there is not drawn again"


@pytest.mark.slow
def test_a_preview_prints_the_plan_and_starts_nothing(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "connect", None)
    given = [f"generator={small_run}/train", f"rows={small_run}/caption", f"output={tmp_path}/g", "prompts=attributes"]
    command = ["generate", "--config", "generate/nano", *given, "plan={mode: as_data, over: [skin_tone]}"]
    code, said, _ = call_cli(capsys, *command, "--preview", "2")
    lines = said.splitlines()
    assert code == 0 and lines[0].split() == ["cell", "real", "rows", "captions", "asked"]
    asked = {line[: len("skin tone A")]: int(line.split()[-1]) for line in lines[1:4]}
    assert asked.keys() == {"skin tone A", "skin tone B", "skin tone C"} and sum(asked.values()) == 500
    prompts = [line for line in lines if line.startswith("  ")]
    assert len(prompts) == 2 and all(
        re.fullmatch("  (benign|malignant), skin tone [ABC]", prompt) for prompt in prompts
    )
    assert not (tmp_path / "g").exists()
    code, _, said = call_cli(capsys, *command, "--preview", "0")
    assert code == 2 and "0: expected a whole number of at least 1" in said


def rows(data: Path) -> dict[str, str]:
    table = read_columns(f"{data}/rows", ["plan_id", "sample_id"]).to_pylist()
    return {row["plan_id"]: row["sample_id"] for row in table}
