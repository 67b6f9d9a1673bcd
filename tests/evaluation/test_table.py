import csv
import io
from typing import Any

from dermray.evaluation.page import _paired
from dermray.evaluation.table import as_csv

COMPUTED: dict[str, Any] = {
    "attribute": None, "group": None, "images": 40, "real": 100, "synthetic": 50, "full_rank": True,
    "frechet_distance": 3.0, "frechet_interval": [2.0, 4.0], "frechet_floor": 1.0, "frechet_excess": 2.0,
    "frechet_excess_interval": None, "frechet_all": 2.5, "sample": 30, "kernel_distance": 0.1, "kernel_spread": 0.01,
    "kernel_floor": 0.0, "precision": 0.5, "recall": 0.4, "precision_floor": 0.9, "recall_floor": 0.8,
    "inception_score": {"mean": 2.0, "spread": 0.1, "images": 50, "parts": 10}, "real_inception_score": None,
}  # fmt: skip
FEW = {"real": 9, "synthetic": 0, "not_computed": "too few", "inception_score": None, "real_inception_score": None}


def pair(attribute: str | None, group: str | None, ssim: float | None) -> dict[str, Any]:
    return {"attribute": attribute, "group": group, "pairs": 5, "identical": 0, "ssim": ssim, "psnr": 10.0, "mse": 9.0}


def source(**pairs: Any) -> dict[str, Any]:
    of_groups = [COMPUTED, COMPUTED | {"attribute": "entity", "group": "nv", "frechet_all": 5.0}]
    of_groups.append(FEW | {"attribute": "entity", "group": "mel"})
    return {
        "features": [{"extractor": "inception", "distances": of_groups}],
        "pairs": pairs,
        "diversity": {"ms_ssim": 0.5},
        "clip": {"mean": 20.0, "spread": 1.0, "images": 30, "other_prompts": 19.0},
        "attribute_accuracy": {"malignant": 0.7},
    }


def test_a_line_for_every_number_and_for_what_was_not_computed() -> None:
    none = {"not_computed": "nobody has a partner", "without_partner": 30}
    groups = {"groups": [pair(None, None, 0.3)], "without_partner": 0}
    found = {"sources": {"LDM": source(prompt=none, random=groups)}, "real_diversity": {"ms_ssim": 0.4}}
    lines = list(csv.DictReader(io.StringIO(as_csv(found))))
    by = {(line["metric"], line["group"], line["rule"]): line for line in lines}
    assert len(by) == len(lines)
    distance = by["frechet_distance", "", ""]
    assert [distance[name] for name in ("value", "low", "high", "floor", "n_real", "note")] == [
        "3.0", "2.0", "4.0", "1.0", "40", ""
    ]  # fmt: skip
    assert by["frechet_all", "", ""]["n_real"] == "100" and by["precision", "nv", ""]["n_synthetic"] == "30"
    assert by["frechet_distance", "mel", ""]["note"] == "not computed: too few"
    assert by["ssim", "", "prompt"]["note"] == "not computed: nobody has a partner"
    assert by["ssim", "", "random"]["value"] == "0.3" and by["ms_ssim", "", ""]["floor"] == "0.4"
    assert by["clip_score", "", ""]["floor"] == "19.0" and by["read back: malignant", "", ""]["floor"] == ""


def test_the_table_of_paper_000_joins_pairs_and_distances() -> None:
    rows = [pair(None, None, 0.3), pair("entity", "nv", 0.2), pair("entity", "df", 0.6)]
    found = _paired(source(random={"groups": rows, "without_partner": 1}), "random")
    assert [row["frechet_all"] for row in found["rows"]] == [2.5, 5.0, None]
    assert found["macro"] == {"ssim": 0.4, "psnr": 10.0, "mse": 9.0, "frechet_all": None}
    alone = _paired(source(random={"groups": rows[:2], "without_partner": 1}), "random")
    assert alone["macro"] is None
