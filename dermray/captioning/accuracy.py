"""How often a captioner said of held-out phantoms what they show."""

import operator
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from dermray.columns import batches
from dermray.row_files import RowFiles

SAID = {  # what was said, and what is so
    "asymmetry": ("said_asymmetry", "true_asymmetry"),
    "border": ("said_border_irregular", "true_border_irregular"),
    "colours": ("said_colours", "true_colours"),
    "skin_tone": ("said_skin_tone", "skin_tone"),
}
COLUMNS = [*(name for pair in SAID.values() for name in pair), "split"]


class Accuracy:
    """Share of held-out phantoms (split test) whose attribute was said right, colours as an exact set."""

    def __init__(self) -> None:
        self.right, self.images = Counter[str](), 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Rows with the columns COLUMNS."""
        known = batch.filter((pc.field("split") == "test") & pc.field("true_asymmetry").is_valid())
        self.images += known.num_rows
        for key, (said, true) in SAID.items():
            self.right[key] += sum(map(operator.eq, known[said].to_pylist(), known[true].to_pylist()))

    def shares(self) -> dict[str, float]:
        """By attribute, their mean, and of how many images; empty for photographs."""
        if not self.images:
            return {}
        result = {key: self.right[key] / self.images for key in SAID}
        return result | {"mean": sum(result.values()) / len(result), "images": self.images}


def attribute_accuracy(rows: str | RowFiles) -> dict[str, float]:
    """Of all rows of a result."""
    accuracy = Accuracy()
    for batch in batches(rows, COLUMNS):
        accuracy.add(batch)
    return accuracy.shares()
