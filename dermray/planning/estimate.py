"""What a stage will take: amounts, GPU-hours and the rows that it hands on."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dermray.planning.figure import Figure, computed, product
from dermray.planning.outlook import Results, Rows
from dermray.planning.rates import rates

ON_TWO_CORES = "seconds on two CPU cores"


@dataclass(frozen=True)
class Asked:
    """What a plan is asked for.

    Args:
        gpu: a card of rates.yaml. told: is given a sentence before minutes go by.
    """

    gpu: str
    results: Results
    told: Callable[[str], None]


@dataclass(frozen=True)
class Estimate:
    """Of a stage.

    Args:
        amounts: what there is to do, by name. hours: of GPUs. rows: of its result, if it has any. notes: what its
            figures leave out.
    """

    amounts: dict[str, Figure]
    hours: Figure
    rows: Rows | None = None
    notes: tuple[str, ...] = field(default=())


def no_gpu(why: str = "its config asks for none") -> Figure:
    """Hours of a stage that runs on CPUs."""
    return computed(0, why)


def on_two_cores(stage: str, amount: Figure) -> dict[str, Figure]:
    """Seconds of a nano model's stage by those that the quickstart took, start-up included."""
    timed = rates().two_cores[stage]
    why = f"{timed.seconds:g} s for {timed.amount:,} {timed.of}: benchmarks/results/quickstart.md"
    each = Figure(timed.seconds / timed.amount, "measured", why)
    taken = product([amount, each], why)
    # other machines are other, and a part of it is start-up whatever the amount
    return {ON_TWO_CORES: taken if taken.value is None else replace(taken, bound="about")}
