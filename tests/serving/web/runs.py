"""Finished results in small: what a run's directory holds, and more than anybody may see."""

from pathlib import Path
from typing import Any

from dermray import manifest
from dermray.config import Config
from dermray.manifest import Rows

PAGE = (
    "<!doctype html><title>A page</title><style>p { color: green }</style><p id=said>Twelve of twelve.</p>"
    "<script>document.getElementById('said').textContent = 'A script ran.'</script>"
)
SVG = "<svg xmlns='http://www.w3.org/2000/svg'/>"


class Nothing(Config):
    """A stage's config."""

    output: str = ""


def write_result(place: Path, stage: str, files: dict[str, str], **metrics: Any) -> None:
    """A finished result of a stage, with these files below its data."""
    with manifest.work(stage, str(place), Nothing(output=str(place)), {}) as work:
        for name, text in files.items():
            path = Path(work.data) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        work.commit(Rows(rows_in=12, ok=11, rejected=1, failed=0), 12, **metrics)


def write_run(run: Path) -> None:
    """Of three stages, one damaged, and a report."""
    write_result(
        run / "sweep", "sweep",
        {"page.html": PAGE, "summary.json": "{}", "plot.svg": SVG, "table.csv": "a",
         "model/model.safetensors": "w", "model/config.json": "{}", "rows/part.parquet": "r", ".hidden.html": "h"},
        summary="yes  real better\nNO   synthetic better",
    )  # fmt: skip
    write_result(
        run / "study", "reader-study-build",
        {"study.json": "{}", "sealed/key.json": "the key", "readers/instructions.html": "i"},
    )  # fmt: skip
    (run / "broken").mkdir()
    (run / "broken" / "manifest.json").write_text("{")
    (run / "report.html").write_text(PAGE)
    (run / "secrets.json").write_text("no")
