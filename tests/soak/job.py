"""`dermray ...` with a stand-in for vLLM's engine, which would take most of a round's time to start.

python -m tests.soak.job STAGE --config PRESET [key=value ...]

The stand-in's words depend on the image, so that rows which swapped their answers would be seen.
"""

import json
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.stand_in_engine import StandIn
from dermray import cli
from dermray.captioning import choose
from dermray.captioning.engine import Ask

if TYPE_CHECKING:
    from ray.data import Dataset

SHAPES, BORDERS, COLOURS = (
    ("symmetric", "asymmetric"),
    ("regular", "irregular"),
    ("red", "black", "white", "red, black"),
)


def words(row: dict[str, Any]) -> str:
    """A sentence about an image, in the form that the prompt asks for."""
    number = int(row["sample_id"][:8], 16)
    shape, border, colour = SHAPES[number % 2], BORDERS[number // 2 % 2], COLOURS[number // 4 % 4]
    said = f"{shape} lesion, {border} border, {colour}."
    pair = {"general": f"A {shape} lesion in {colour}.", "specific": f"Its border is {border}."}
    return json.dumps(pair) if row.get("asked") == "pairs" else said


class Answering(StandIn):
    """An engine with a process beside its actor, which may be killed as vLLM's may."""

    def answer(self, rows: "Dataset", ask: Ask) -> "Dataset":
        """Rows with their words."""
        asked = "pairs" if "general" in json.dumps(ask.schema or {}) else "captions"
        return super().answer(rows, ask).map(lambda row: row | {"text": words(row | {"asked": asked})})


if __name__ == "__main__":
    engine = Answering(latency=0.1, concurrency=4, process=True)
    choose.prepared = engine.prepared  # type: ignore[assignment]  # no engine is prepared
    cli.main(sys.argv[1:])
