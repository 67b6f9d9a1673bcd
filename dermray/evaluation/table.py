"""All numbers of an evaluation as rows of one long table, for papers and plots."""

import csv
import io
from collections.abc import Iterator
from typing import Any

COLUMNS = ["source", "extractor", "attribute", "group", "metric", "value", "low", "high", "floor", "n_real",
           "n_synthetic", "rule", "note"]  # fmt: skip
Row = dict[str, Any]


def as_csv(found: dict[str, Any]) -> str:
    """The table with a header, cells that do not apply empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(found))
    return text.getvalue()


def rows(found: dict[str, Any]) -> Iterator[Row]:
    """Of the stage's metrics."""
    for name, source in found["sources"].items():
        for in_features in source["features"]:
            for of_group in in_features["distances"]:
                where = {
                    "source": name,
                    "extractor": in_features["extractor"],
                    "attribute": of_group["attribute"],
                    "group": of_group["group"],
                }
                for row in [*_distances(of_group), *_inception(of_group)]:
                    yield where | row
        for row in [*_pairs(source), *_whole(source, found)]:
            yield {"source": name} | row


def _distances(found: dict[str, Any]) -> Iterator[Row]:
    if "not_computed" in found:
        yield {
            "metric": "frechet_distance",
            "n_real": found["real"],
            "n_synthetic": found["synthetic"],
            "note": "not computed: " + found["not_computed"],
        }
        return
    matched, sample = ({"n_real": found[n], "n_synthetic": found[n]} for n in ("images", "sample"))
    note = "" if found["full_rank"] else "no more images than dimensions: bias above all"
    low, high = found["frechet_interval"] or (None, None)
    yield {
        "metric": "frechet_distance",
        "value": found["frechet_distance"],
        "low": low,
        "high": high,
        "floor": found["frechet_floor"],
        "note": note,
    } | matched
    low, high = found["frechet_excess_interval"] or (None, None)
    yield {"metric": "frechet_excess", "value": found["frechet_excess"], "low": low, "high": high} | matched
    everything = {"n_real": found["real"], "n_synthetic": found["synthetic"], "note": "all images; no floor"}
    yield {"metric": "frechet_all", "value": found["frechet_all"]} | everything
    for metric in ("kernel_distance", "precision", "recall"):
        floor = found["kernel_floor" if metric == "kernel_distance" else f"{metric}_floor"]
        yield {"metric": metric, "value": found[metric], "floor": floor} | sample


def _inception(found: dict[str, Any]) -> Iterator[Row]:
    if score := found["inception_score"]:
        real = found["real_inception_score"]
        yield {
            "metric": "inception_score",
            "value": score["mean"],
            "floor": real["mean"] if real else None,
            "n_real": real["images"] if real else 0,
            "n_synthetic": score["images"],
            "note": "in the column floor: of real images",
        }


def _pairs(source: dict[str, Any]) -> Iterator[Row]:
    for rule, found in source["pairs"].items():
        if "not_computed" in found:
            yield {"metric": "ssim", "rule": rule, "note": "not computed: " + found["not_computed"]}
            continue
        for of_group in found["groups"]:
            for metric in ("ssim", "psnr", "mse"):
                yield {
                    "attribute": of_group["attribute"],
                    "group": of_group["group"],
                    "metric": metric,
                    "value": of_group[metric],
                    "n_synthetic": of_group["pairs"],
                    "rule": rule,
                }


def _whole(source: dict[str, Any], found: dict[str, Any]) -> Iterator[Row]:
    real = found["real_diversity"].get("ms_ssim")
    diversity = source["diversity"]
    note = "in the column floor: of real images" if "ms_ssim" in diversity else diversity["not_computed"]
    yield {"metric": "ms_ssim", "value": diversity.get("ms_ssim"), "floor": real, "note": note}
    if clip := source["clip"]:
        note = "in the column floor: with other images' prompts"
        yield {
            "metric": "clip_score",
            "value": clip["mean"],
            "floor": clip["other_prompts"],
            "n_synthetic": clip["images"],
            "note": note,
        }
    for name, value in source["attribute_accuracy"].items():
        yield {"metric": f"read back: {name}", "value": value, "floor": found.get("majority_guess", {}).get(name)}
