"""The stages of a finished run as a table: rows, seconds, peak memory.

python -m benchmarks.stage_table runs/quickstart > benchmarks/results/quickstart.md
"""

import json
import os
import sys
from pathlib import Path


def main(run: str) -> None:
    """Print the table in Markdown."""
    summary = json.loads((Path(run) / "summary.json").read_text())
    print(f"# {run} on {os.cpu_count()} CPU cores\n")
    print("| stage | rows in | ok | rejected | failed | seconds |\n|---|---:|---:|---:|---:|---:|")
    for name, stage in summary["stages"].items():
        print("| " + " | ".join(str(v) for v in (name, *stage.values())) + " |")
    total = sum(stage["seconds"] for stage in summary["stages"].values())
    print(
        f"\nStages together: {total:.0f} s. Peak memory of all processes: {summary['peak_rss_bytes'] / 2**30:.1f} GiB."
    )
    captions, generation = summary["captioning"]["attribute_accuracy"], summary["generation"]
    if captions:
        print(f"Captions: mean attribute accuracy {captions['mean']:.3f} on {captions['images']} held-out images.")
    accuracy, times = (
        generation["attribute_accuracy"]["mean"],
        generation["frechet_distance"] / generation["frechet_floor"],
    )
    print(f"Generator: mean attribute accuracy {accuracy:.3f}, Frechet distance {times:.1f} times the floor.")
    for verdict in summary["verdict"]:
        outcome = "came out" if verdict["came_out"] else "NOT shown"
        interval = f"95% interval {verdict['low']:+.3f} to {verdict['high']:+.3f}"
        print(f"- {verdict['claim']}: {outcome} ({verdict['mean']:+.3f} AUC, {interval})")


if __name__ == "__main__":
    main(sys.argv[1])
