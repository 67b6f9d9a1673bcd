"""The stages of a finished run as a table: rows, seconds, peak memory.

python -m benchmarks.stage_table runs/quickstart > benchmarks/results/quickstart.md
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COLUMNS = ("rows_in", "ok", "rejected", "failed", "seconds")


def main(run: str) -> None:
    """Print the table in Markdown."""
    summary = json.loads((Path(run) / "summary.json").read_text())
    print(f"# {run} on {os.cpu_count()} CPU cores\n")
    print("| stage | rows in | ok | rejected | failed | seconds |\n|---|---:|---:|---:|---:|---:|")
    for name, stage in summary["stages"].items():
        print("| " + " | ".join(str(v) for v in (name, *(stage[column] for column in COLUMNS))) + " |")
    total = sum(stage["seconds"] for stage in summary["stages"].values())
    print(
        f"\nStages together: {total:.0f} s. Peak memory of all processes: {summary['peak_rss_bytes'] / 2**30:.1f} GiB."
    )
    for name, stage in summary["stages"].items():
        for line in _told(stage):
            print(f"- {name}: {line}")


def _told(stage: dict[str, Any]) -> Iterator[str]:
    """What came out of a stage, as far as the report's blocks have figures of it."""
    if captions := stage.get("attribute_accuracy"):
        yield f"mean attribute accuracy {captions['mean']:.3f} on {captions['images']} held-out images"
    for source, found in stage.get("sources", {}).items():
        times = found["frechet_distance"] / found["frechet_floor"]
        yield (
            f"{source}: mean attribute accuracy {found['attribute_accuracy']['mean']:.3f}, Frechet distance "
            f"{times:.1f} times the floor"
        )
    for verdict in stage.get("verdict", []):
        outcome = "came out" if verdict["came_out"] else "NOT shown"
        interval = f"95% interval {verdict['low']:+.3f} to {verdict['high']:+.3f}"
        yield f"{verdict['claim']}: {outcome} ({verdict['mean']:+.3f} AUC, {interval})"


if __name__ == "__main__":
    main(sys.argv[1])
