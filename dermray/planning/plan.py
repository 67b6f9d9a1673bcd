"""A plan: every stage's amounts, GPU-hours and price, the licences that bind its result, and what is missing."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dermray import storage
from dermray.pipeline import Graph
from dermray.planning import licences
from dermray.planning.estimate import Asked, Estimate, no_gpu
from dermray.planning.figure import Figure, computed, product, total, unknown
from dermray.planning.licences import Licence
from dermray.planning.missing import Missing, missing
from dermray.planning.outlook import Outlook, Results

STAGES = "dermray.planning.stages"
ESTIMATORS = {
    "ingest": f"{STAGES}.ingesting:estimate",
    "captioner": f"{STAGES}.learning:captioner",
    "caption": f"{STAGES}.asking:caption",
    "instruct": f"{STAGES}.asking:instruct",
    "compare-captioners": f"{STAGES}.asking:compare",
    "vqa": f"{STAGES}.asking:vqa",
    "train": f"{STAGES}.learning:train",
    "tune-vlm": f"{STAGES}.learning:tune",
    "generate": f"{STAGES}.drawing:estimate",
    "evaluate": f"{STAGES}.judging:estimate",
    "sweep": f"{STAGES}.classifying:sweep",
    "classify": f"{STAGES}.classifying:classify",
    "predict": f"{STAGES}.classifying:predict",
}
ON_CPUS = ("audit-captions", "compare-paper", "sweep-splits", "reader-study build", "reader-study analyse")


@dataclass(frozen=True)
class Planned:
    """A stage of a plan.

    Args:
        price: None where no rate was given. licences: that bind its result. done: whether its output holds a result.
    """

    name: str
    stage: str
    estimate: Estimate
    price: Figure | None
    licences: tuple[Licence, ...]
    done: bool


@dataclass(frozen=True)
class Plan:
    """Of a run, or of one stage.

    Args:
        gpu: the card that hours are of. rate: price of its hour, None where none was given.
    """

    gpu: str
    rate: float | None
    stages: tuple[Planned, ...]
    hours: Figure
    price: Figure | None
    missing: tuple[Missing, ...]

    def binding(self) -> dict[Licence, list[str]]:
        """Each licence, and the stages whose results it binds."""
        found = dict[Licence, list[str]]()
        for stage in self.stages:
            for licence in stage.licences:
                found.setdefault(licence, []).append(stage.name)
        return found


def make(
    graph: Graph, gpu: str, rate: float | None = None, rows: int | None = None, told: Callable[[str], None] = print
) -> Plan:
    """Plan every stage of a graph, each after its inputs. Nothing is started, written or asked of a network.

    Args:
        gpu: a card of rates.yaml. rate: price of its hour. rows: of what nothing is known of. told: is given a sentence
            before minutes go by.
    """
    results, stages, lacks = Results(given=rows), list[Planned](), list[Missing]()
    asked = Asked(gpu, results, told)
    for name, instance in graph.items():
        config = instance.config
        estimate = _estimate(instance.stage, config, asked)
        bound = _licences(config, results)
        lacks += missing(name, config, lambda place: storage.normalise(place) in results.planned)
        results.planned[instance.output] = Outlook(instance.stage, config, estimate.rows, bound)
        price = _price(estimate.hours, rate)
        stages.append(Planned(name, instance.stage, estimate, price, bound, _is_done(instance.output)))
    hours = total([stage.estimate.hours for stage in stages], "of all stages")
    return Plan(gpu, rate, tuple(stages), hours, _price(hours, rate), tuple(lacks))


def _estimate(stage: str, config: Any, asked: Asked) -> Estimate:
    if stage in ON_CPUS:
        return Estimate({}, no_gpu("it runs on CPUs"))
    if stage not in ESTIMATORS:
        return Estimate({}, unknown(f"no estimate is made of {stage}"))
    module, _, function = ESTIMATORS[stage].partition(":")
    estimate: Estimate = getattr(import_module(module), function)(config, asked)
    return estimate


def _is_done(output: str) -> bool:
    """Whether a result lies there; a store is not asked, it may be out of reach."""
    return not storage.is_s3(output) and storage.exists(storage.join(output, "manifest.json"))


def _licences(config: Any, results: Results) -> tuple[Licence, ...]:
    """Of what it brings in, and of its inputs."""
    found = list(licences.brought(config, lambda place: results.of(place) is not None))
    for place in licences.inputs(config):
        if (made := results.of(place)) is not None:
            found += made.licences
    return tuple(dict.fromkeys(found))


def _price(hours: Figure, rate: float | None) -> Figure | None:
    if rate is None:
        return None
    why = f"GPU-hours at {rate:,.2f}"
    return product([hours, computed(rate, why)], why) if hours.value is not None else hours
