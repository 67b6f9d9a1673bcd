"""What a run cannot be without: data sets, earlier results, local weights, endpoints' keys; all told before a start."""

from collections.abc import Iterable, Iterator

from dermray import storage
from dermray.config import ConfigError
from dermray.pipeline import Graph, PipelineConfig
from dermray.pipeline.data_root import DATA
from dermray.pipeline.scales import SCALES, lineage
from dermray.planning.missing import Missing, missing


def require(config: PipelineConfig, graph: Graph, names: Iterable[str]) -> None:
    """Of these instances; a finished one needs nothing any more. What a hub has is fetched when it is used.

    Raises:
        ConfigError: naming all that is not there, from where it comes, and how another place is given.
    """
    made = {instance.output for instance in graph.values()}
    lacks = list[Missing]()
    for name in names:
        instance = graph[name]
        if not storage.exists(storage.join(instance.output, "manifest.json")):
            found = missing(name, instance.config, lambda place: storage.normalise(place) in made)
            lacks += [lack for lack in found if not lack.fetched]
    if lacks:
        told = [line for same in _grouped(lacks) for line in _told(config, same)]
        raise ConfigError(
            "\n".join([f"{config.output}: nothing was started, because not all that it needs is there:", *told])
        )


def _grouped(lacks: list[Missing]) -> list[list[Missing]]:
    """Of each data set all that is not there: it has one address and one layout, whichever stages read it."""
    groups = dict[str, list[Missing]]()
    for lack in lacks:
        groups.setdefault(lack.source or f"{lack.stage}.{lack.field}", []).append(lack)
    return list(groups.values())


def _told(config: PipelineConfig, lacks: list[Missing]) -> Iterator[str]:
    lack = lacks[0]
    if lack.source is None:
        yield f"  stages.{lack.stage}.{lack.field}={lack.place}: {lack.state}; {lack.advice}"
        return
    places = dict.fromkeys(each.place for each in lacks)
    yield from (f"  {lack.source}: {place} is not there, or cannot be reached" for place in places)
    yield f"    {lack.advice}"
    fields = dict.fromkeys(_given_by(config, each) for each in lacks)
    below_root = all(_below_root(config, place) for place in places)
    ways = [f"data=ROOT in the place of {config.data or DATA}"] if below_root else []
    ways += [" ".join(f"{field}=PATH" for field in fields)] if all(fields) else []
    if ways:
        yield f"    elsewhere? give {', or '.join(ways)}"


def _below_root(config: PipelineConfig, place: str) -> bool:
    return storage.readable(place).startswith(storage.readable(config.data or DATA))


def _given_by(config: PipelineConfig, lack: Missing) -> str | None:
    """The override that gives another path: of the stage, or of its scale; None where a preset has it."""
    section, name = config.stages[lack.stage] or {}, lack.field.partition(".")[0]
    if name in section:
        return f"stages.{lack.stage}.{lack.field}"
    line = [] if config.scale is None else lineage(config.scale, config.scales)
    for scale in reversed(line):
        if name in ((section.get(SCALES) or {}).get(scale) or {}):
            return f"stages.{lack.stage}.{SCALES}.{scale}.{lack.field}"
    return None
