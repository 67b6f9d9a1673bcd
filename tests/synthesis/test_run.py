"""A stage that draws what its plan says, each line once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray.config import validate
from dermray.failures import plain_cause
from dermray.generators.base import FAMILIES, family
from dermray.page_index import PagedColumn
from dermray.records import read_columns
from dermray.synthesis import run as synthesis
from dermray.training.run import image_size
from tests.tampering import double_a_row, lose_a_row


@pytest.mark.parametrize("name", list(FAMILIES))
def test_sizes_go_to_families_that_draw_any(name: str) -> None:
    trained: Any = SimpleNamespace(manifest=SimpleNamespace(config={"family": name, "model": {}}))
    own = image_size(trained)

    def sizes(*asked: int) -> tuple[int, ...]:
        config = {"output": "o", "generator": "g", "rows": "r", "sizes": asked}
        return synthesis._sizes(validate(synthesis.SynthesisConfig, config), trained)

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
              "batch_size": 4, "actors": 1, "gate_quantile": 0.0}  # fmt: skip
    draw = synthesis._draw

    def generate(output: str, tamper: Any) -> Any:
        def tampered(plan: str, target: str, *arguments: Any) -> None:
            draw(plan, target, *arguments)
            tamper(target.removesuffix("/rows"))

        with monkeypatch.context() as patch:
            patch.setattr(synthesis, "_draw", tampered)
            return synthesis.run(validate(synthesis.SynthesisConfig, config | {"output": f"{tmp_path}/{output}"}))

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
    drawn = rows(Path(result.data))
    files = list(Path(result.data, "rows").rglob("*.parquet"))
    assert any(PagedColumn.open(pa.OSFile(str(f)), pq.ParquetFile(f), "image") for f in files), "not the tampered one"
    assert len(drawn) == 8 and kept.items() <= drawn.items(), "what was there is not drawn again"


def rows(data: Path) -> dict[str, str]:
    table = read_columns(f"{data}/rows", ["plan_id", "sample_id"]).to_pylist()
    return {row["plan_id"]: row["sample_id"] for row in table}
