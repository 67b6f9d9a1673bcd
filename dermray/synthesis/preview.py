"""A plan for people to read before anything is drawn."""

import pyarrow as pa

from dermray.synthesis.counts import CellCounts
from dermray.synthesis.survey import Settled

HEADS = ("real rows", "captions", "asked")


def in_words(settled: Settled, requests: pa.Table) -> str:
    """A table of the cells, what there is to warn of, and some requests."""
    warnings = [f"warning: {warning}" for warning in settled.warnings]
    return "\n".join([*_table(settled.cells), *warnings, *map(_request, requests.to_pylist())])


def _table(cells: list[CellCounts]) -> list[str]:
    lines = [("cell", *HEADS), *(_line(cell.name, cell.real, cell.captions, cell.asked) for cell in cells)]
    if len(cells) > 1:
        sums = (sum(column) for column in zip(*((c.real, c.captions, c.asked) for c in cells), strict=True))
        lines.append(_line(f"all {len(cells)} cells", *sums))
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    return ["  ".join([name.ljust(first), *map(str.rjust, row, others)]) for name, *row in lines]


def _line(name: str, *counts: int) -> tuple[str, ...]:
    return name, *(f"{count:,}" for count in counts)


def _request(request: dict[str, object]) -> str:
    size = request["image_size"]
    return f"\n{request['plan_id']}  {size} x {size} px, seed {request['seed']}\n  {request['prompt']}"
