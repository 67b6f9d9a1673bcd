"""The audit's page: verdicts, numbers, and pictures side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from dermray import pages, storage
from dermray.classification.audit import shifts
from dermray.classification.audit.pictures import OTHER_SEED, OWN, places
from dermray.classification.audit.wording import Attribute
from dermray.columns import batches
from dermray.datasets.decode import portable

NAME, TEMPLATE = "page.html", Path(__file__).parent / "page.html"
SIDE = 192  # px of a picture
OK = pc.field("status") == "ok"


def write(
    directory: str, rows: str, found: dict[str, Any], attributes: Sequence[Attribute], of_class: str, shown: int
) -> None:
    """Write it.

    Args:
        rows: URI of ROWS. found: what `shifts.analyse` says. shown: lesions, always the same of these rows.
    """
    names = sorted(name for batch in batches(rows, ["lesion", "status"], OK) for name in batch["lesion"].to_pylist())
    chosen = pc.field("lesion").isin(names[:shown])
    columns = ["lesion", "prompt", "attribute", "value", "images", "score"]
    lesions = [row for batch in batches(rows, columns, chosen) for row in batch.to_pylist()]
    lesions.sort(key=lambda row: row["lesion"])
    text = pages.render(
        TEMPLATE,
        found=found,
        titles={attribute.name: attribute.title for attribute in attributes},
        columns=[(attribute.title, value) for attribute in attributes for value in attribute.values],
        lesions=[_side_by_side(row, attributes) for row in lesions],
        of_class=of_class,
        verdicts={shifts.DEPENDS: "bad", shifts.INDEPENDENT: "good", shifts.UNDECIDED: "open"},
    )
    storage.write_bytes(storage.join(directory, NAME), text.encode())


def _side_by_side(row: dict[str, Any], attributes: Sequence[Attribute]) -> dict[str, Any]:
    """A lesion's prompt and its pictures in the order of the columns, the one of another seed last."""
    order = [place for attribute in attributes for place in places(row, attribute)] + [OTHER_SEED]
    urls = [pages.data_url(portable(image, SIDE)) for image in row["images"]]
    shown = [{"url": urls[p], "score": row["score"][p], "own": p == OWN} for p in order]
    return {"prompt": row["prompt"], "own_score": row["score"][OWN], "pictures": shown}
