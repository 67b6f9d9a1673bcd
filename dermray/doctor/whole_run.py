"""What a run's config names: all of it is here, or what is not, from where it comes."""

from collections.abc import Iterator
from pathlib import Path

from dermray import storage
from dermray.config import ConfigError, load
from dermray.doctor import gpu_need
from dermray.doctor.finding import Finding, fault, ok, warning
from dermray.planning.missing import missing

RUN = "run"  # in the place of a stage's name


def findings(file: Path, overrides: list[str]) -> Iterator[Finding]:
    """A valid graph; for each thing that is not here and that none of its stages makes, a fault, or a warning if it is
    fetched when it is used."""
    from dermray.pipeline import PipelineConfig
    from dermray.pipeline import load as load_graph

    try:
        graph = load_graph(load(PipelineConfig, file, overrides))
    except ConfigError as error:
        yield fault(str(error), "correct it; `dermray config run` prints what there is")
        return
    yield ok(f"{file}: a valid run of {len(graph)} stages")
    made, complete = {instance.output for instance in graph.values()}, True
    for name, instance in graph.items():
        for lack in missing(name, instance.config, lambda place: storage.normalise(place) in made):
            complete = False
            yield (warning if lack.fetched else fault)(
                f"stages.{name}.{lack.field}={lack.place}: {lack.state}", lack.advice
            )
    gpus = {f"stages.{name}": dict(gpu_need.asked(instance.config)) for name, instance in graph.items()}
    yield from gpu_need.findings({f"{stage}.{field}": n for stage, asked in gpus.items() for field, n in asked.items()})
    if complete:
        yield ok("all data sets, results, weights and keys that it names are here")
