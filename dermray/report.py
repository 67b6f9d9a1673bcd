"""One self-contained page and one summary.json that tell what a run did."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray import pages, storage
from dermray.datasets.decode import portable
from dermray.manifest import Result
from dermray.memory import PeakMemory
from dermray.picked import pick, take

EXAMPLES = 3


def summarise(results: Mapping[str, Result], memory: PeakMemory) -> dict[str, Any]:
    """The numbers that others build on."""
    metrics = {name: result.manifest.metrics for name, result in results.items()}
    source = next(iter(metrics["evaluate"]["sources"].values()))
    distances = source["features"][0]["distances"][0]  # in the first extractor's features, of all images
    return {
        "stages": {
            name: result.manifest.rows.model_dump(exclude={"reasons"}) | {"seconds": round(result.manifest.seconds, 1)}
            for name, result in results.items()
        },
        "captioning": {"attribute_accuracy": metrics["caption"]["attribute_accuracy"]},
        "generation": {
            "attribute_accuracy": source["attribute_accuracy"],
            "frechet_distance": distances.get("frechet_distance"),
            "frechet_floor": distances.get("frechet_floor"),
        },
        "sweep": [
            {key: trial[key] for key in ("backbone", "arm", "ratio", "seed")}
            | {"metrics": trial["overall"] | {"groups": trial["groups"], "auc_gap": trial["auc_gap"]}}
            for trial in metrics["sweep"]["trials"]
        ],
        "verdict": metrics["sweep"]["verdict"],
        "peak_rss_bytes": memory.peak,
        "peak_rss_measured": memory.measured,
    }


def write(run: str, results: Mapping[str, Result], summary: dict[str, Any], title: str, notes: list[str]) -> None:
    """`summary.json` and `report.html` into the run's directory."""
    text = render(results, summary, title, notes)
    storage.write_bytes(storage.join(run, "summary.json"), json.dumps(summary, indent=1).encode())
    storage.write_bytes(storage.join(run, "report.html"), text.encode())


def render(results: Mapping[str, Result], summary: dict[str, Any], title: str, notes: list[str]) -> str:
    """The page, pictures inside."""
    from dermray.classification import page
    from dermray.evaluation.page import stored_values

    evaluation, sweep = results["evaluate"], results["sweep"]
    return pages.render(
        Path(__file__).parent / "report.html",
        title=title,
        notes=notes,
        results=results,
        summary=summary,
        **stored_values(evaluation.data, evaluation.manifest.metrics),
        sweep_pictures=[page.pictures(sweep.data, analysis) for analysis in sweep.manifest.metrics["tested"]],
        examples=_examples(results),
        losses=_loss_curve(results["train"].manifest.metrics["training"]["losses"]),
    )


def _loss_curve(losses: list[list[float]]) -> str:
    from dermray.evaluation.plots import figure_bytes, new_figure

    figure, axis = new_figure(figsize=(5.2, 2.6))
    axis.plot(*np.array(losses).T, color="#30638e", lw=1.4)
    axis.set_xlabel("step")
    axis.set_ylabel("flow-matching loss")
    return pages.data_url(figure_bytes(figure))


def _examples(results: Mapping[str, Result]) -> list[dict[str, Any]]:
    """Synthetic images beside the training image whose caption was the prompt, and the nearest training image."""
    wanted = ["prompt", "prompt_sample_id", "nearest_sample_id", "nearest_distance", "seed", "generator"]
    chosen = _with_urls(pick(results["generate"].row_files(), wanted, pc.field("status") == "ok", EXAMPLES))
    ids = [row[name] for row in chosen for name in ("prompt_sample_id", "nearest_sample_id")]
    named = pick(results["caption"].row_files(), ["source_id", "answer"], pc.field("sample_id").isin(ids))
    real = {row["sample_id"]: row for row in _with_urls(named)}
    return [
        row | {"source": real[row["prompt_sample_id"]], "nearest": real[row["nearest_sample_id"]]} for row in chosen
    ]


def _with_urls(picked: pa.Table) -> list[dict[str, Any]]:
    urls = [pages.data_url(portable(image, pages.SIDE)) for image in take(picked)]
    return [row | {"url": url} for row, url in zip(picked.to_pylist(), urls, strict=True)]
