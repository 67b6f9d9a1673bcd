"""What an evaluation leaves beside its manifest: a page, the numbers as JSON and CSV, and the pictures."""

import json
from pathlib import Path
from typing import Any

from dermray import pages, storage
from dermray.evaluation import table

TEMPLATE = Path(__file__).parent / "page.html"
PICTURES = "pictures"


def write(data: str, found: dict[str, Any], images: dict[str, bytes], mark: str) -> None:
    """Below `data`; `mark` is of `leak_mark`."""
    storage.make_directory(storage.join(data, PICTURES))
    for name, image in images.items():
        storage.write_bytes(storage.join(data, PICTURES, name), image)
    text = json.dumps(found, indent=1)
    storage.write_bytes(storage.join(data, "evaluation.json"), text.encode())
    storage.write_bytes(storage.join(data, "table.csv"), table.as_csv(found).encode())
    urls = {name: pages.data_url(image) for name, image in images.items()}
    html = pages.render(TEMPLATE, title="Evaluation of synthetic images", mark=mark, **values(found, urls))
    storage.write_bytes(storage.join(data, "evaluation.html"), html.encode())


def values(found: dict[str, Any], urls: dict[str, str]) -> dict[str, Any]:
    """What `block.html` needs."""
    return {
        "evaluation": found,
        "pictures": urls,
        "paired": [
            (name, rule, _paired(source, rule)) for name, source in found["sources"].items() for rule in source["pairs"]
        ],
    }


def stored_values(data: str, found: dict[str, Any]) -> dict[str, Any]:
    """As `values`, with the pictures that `write` left below `data`."""
    urls = {name: pages.data_url(storage.read_bytes(storage.join(data, PICTURES, name))) for name in found["pictures"]}
    return values(found, urls)


def _paired(source: dict[str, Any], rule: str) -> dict[str, Any]:
    """The table of paper 000: pairs beside Frechet distance and Inception score of the first extractor."""
    found = source["pairs"][rule]
    if "not_computed" in found:
        return dict(found)
    features = source["features"][0]
    groups = {(row["attribute"], row["group"]): row for row in features["distances"]}
    rows = []
    for row in found["groups"]:
        of_group = groups.get((row["attribute"], row["group"]), {})
        rows.append(
            row | {name: of_group.get(name) for name in ("frechet_all", "inception_score", "real", "synthetic")}
        )
    return {
        "extractor": features["extractor"],
        "rows": rows,
        "macro": _macro([row for row in rows if row["attribute"] == "entity"]),
        "without_partner": found["without_partner"],
    }


def _macro(entities: list[dict[str, Any]]) -> dict[str, float | None] | None:
    """The mean over entities, each counting once: paper 000's overall. None of fewer than two."""
    if len(entities) < 2:
        return None
    return {name: _mean([row[name] for row in entities]) for name in ("ssim", "psnr", "mse", "frechet_all")}


def _mean(cells: list[float | None]) -> float | None:
    return None if None in cells else sum(cell for cell in cells if cell is not None) / len(cells)
