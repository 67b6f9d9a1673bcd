"""A run's config: instances of stages, each with its own fields and with inputs by other instances' names.

    output: runs/two
    stages:
      ingest: {sources: [{source: phantom}]}
      caption: {rows: {from: ingest}, captioner: weights/llava}
      small: {stage: train, rows: {from: caption}, loop: {steps: 100}}
      large: {stage: train, rows: {from: caption}, loop: {steps: 900}}

Inputs are never guessed. A run reads as it is wired, and a second generator changes nothing of what the first one's
readers mean.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, Self

from pydantic import BaseModel, Field, model_validator

from dermray import storage
from dermray.config import Config, ConfigError, HowFast, validate
from dermray.pipeline.commands import COMMANDS, command
from dermray.pipeline.data_root import below, holds_data, require_place
from dermray.pipeline.references import FROM, references, require_inputs, require_no_bare_names, resolved
from dermray.pipeline.scales import ScaleConfig, at_scale, lineage
from dermray.result_fields import result_fields

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # of an instance, and of its directory
KIND = "stage"  # the key that says which stage an instance is of


class PipelineConfig(Config):
    """Which stages, by names of yours; each reads results of others by `{from: <name>}`."""

    output: str = Field(description="directory or s3:// URI of the run; a stage's output is <output>/<its name>")
    title: str = Field("dermray run", description="of the report")
    notes: list[str] = Field([], description="printed at the top of the report")
    scale: str | None = Field(None, description="at which of `scales` to run")
    scales: dict[str, ScaleConfig] = Field({}, description="by name; stages have their fields at each under `scales`")
    data: str | None = Field(
        None,
        description="directory or URI in the place of `data/` at the head of paths in an ingest's sources and lists",
    )
    parallel: HowFast[int] = Field(1, ge=1, description="stages that do not need each other, at a time")
    stages: dict[str, dict[str, Any] | None] = Field(
        description="by name: `stage` (which one; default: that of this name), and that stage's own config; a field "
        "that takes a result also takes `{from: <name>}`; `preset`: fields to begin with; `scales`: fields at a scale; "
        "null leaves one out",
    )

    @cached_property
    def sections(self) -> dict[str, dict[str, Any]]:
        """What is said of each instance that is not left out, at this run's scale.

        Raises:
            ConfigError: a stage lacks the scale, or names a preset that is none of its stage's; `data` that nothing
                lies below.
        """
        line = [] if self.scale is None else lineage(self.scale, self.scales)
        given = {name: section for name, section in self.stages.items() if section is not None}
        stages = {name: str(section.get(KIND, name)) for name, section in given.items()}
        fields = {name: at_scale(name, given[name], line, self.scales, stages[name]) for name in given}
        sections = {name: section for name, section in fields.items() if section is not None}
        if self.data is not None and not any(map(holds_data, sections.values())):
            raise ConfigError(
                f"data={self.data}: no path of this run begins with data/, so this would change nothing; give each "
                "source's own path: stages.<stage>.sources.0.path=PATH, or, where a scale has it, "
                "stages.<stage>.scales.<scale>.sources.0.path=PATH"
            )
        return {name: below(self.data, section) for name, section in sections.items()}

    @property
    def remarks(self) -> list[str]:
        """Notes of this run, and of its scale or else of the nearest that it is like."""
        line = [] if self.scale is None else lineage(self.scale, self.scales)
        of_scale = next((notes for name in reversed(line) if (notes := self.scales[name].notes) is not None), [])
        return [*self.notes, *of_scale]

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        if self.scales and self.scale is None:
            raise ConfigError(f"scale: missing; expected one of {', '.join(self.scales)}")
        if self.data is not None:
            require_place(self.data)
        if not self.sections:
            raise ConfigError("stages: expected one stage or more")
        return self


@dataclass(frozen=True)
class Instance:
    """A stage of a run."""

    name: str
    stage: str  # which command it is
    config: Any  # of that command's config class, with output and inputs filled in
    section: dict[str, Any]  # the same as plain data
    inputs: dict[str, str]  # dotted name of a field -> name of the instance whose result it is

    @property
    def output(self) -> str:
        """Its directory."""
        return storage.normalise(self.config.output)

    @property
    def result(self) -> str:
        """Where its result will be: that directory, or the one in it that its config calls `result`."""
        return storage.normalise(getattr(self.config, "result", self.config.output))

    @property
    def finished(self) -> bool:
        """Its result is there."""
        return storage.exists(storage.join(self.result, "manifest.json"))

    @property
    def before(self) -> set[str]:
        """Names of the instances that it needs."""
        return set(self.inputs.values())


Graph = dict[str, Instance]  # by name, each after all that it needs


def load(config: PipelineConfig) -> Graph:
    """Every instance with its typed config, all checked before anything starts.

    Raises:
        ConfigError: an unknown stage, an input that names nothing or a result of the wrong stage, a cycle, two
            instances with one output, a wrong section, or what a stage's `require` refuses of its inputs' configs.
    """
    kinds = {name: _stage(name, section) for name, section in config.sections.items()}
    wired = {name: _wired(name, section, kinds) for name, section in config.sections.items()}
    order = _order({name: set(inputs.values()) for name, inputs in wired.items()})
    run = storage.normalise(config.output)
    places = _places(config, run)
    graph: Graph = {}
    for name in order:
        own = {key: value for key, value in config.sections[name].items() if key != KIND}
        section = {"output": places[name]} | resolved(own, places)
        typed = validate(command(kinds[name])[0], section, where=f"stages.{name}")
        graph[name] = Instance(name, kinds[name], typed, section, wired[name])
    for instance in graph.values():
        _require_fitting(instance, graph)
    return graph


def ancestors(graph: Graph, names: Iterable[str]) -> set[str]:
    """These instances and all that they need."""
    needed, left = set[str](), list(names)
    while left:
        if (name := left.pop()) not in needed:
            needed.add(name)
            left += graph[name].before
    return needed


def levels(graph: Graph) -> list[list[str]]:
    """Names, those that need no other first; each level needs only levels before it."""
    level = dict[str, int]()
    for name, instance in graph.items():  # inputs stand before
        level[name] = 1 + max((level[before] for before in instance.before), default=-1)
    return [[name for name in graph if level[name] == number] for number in range(max(level.values()) + 1)]


def chosen(graph: Graph, only: Iterable[str] = (), until: Iterable[str] = ()) -> list[str]:
    """Which instances to run, in order: `until` with all that they need, `only` without; all if neither is given.

    Raises:
        ConfigError: an unknown name, or an input of `only` that is neither chosen nor finished.
    """
    only, until = list(only), list(until)
    for option, names in (("--only", only), ("--until", until)):
        if unknown := [name for name in names if name not in graph]:
            raise ConfigError(f"{option} {unknown[0]}: this run has no such stage; there are: {', '.join(graph)}")
    wanted = set(only) | ancestors(graph, until) if only or until else set(graph)
    for name in only:
        for before in sorted(graph[name].before - wanted):
            if not graph[before].finished:
                raise ConfigError(
                    f"--only {name}: its input {before} is not finished ({graph[before].output} holds no result); "
                    f"give --until {name}, which makes all that it needs"
                )
    return [name for name in graph if name in wanted]


def _stage(name: str, section: Mapping[str, Any]) -> str:
    if not NAME.fullmatch(name):
        raise ConfigError(f"stages.{name}: expected a name of letters, digits, '-' and '_': it names a directory")
    stage = section.get(KIND, name)
    if stage not in COMMANDS:
        said = f".{KIND}={stage!r}: no stage" if KIND in section else f": no stage is named so; give its {KIND}"
        raise ConfigError(f"stages.{name}{said}, one of {', '.join(COMMANDS)}")
    return str(stage)


def _wired(name: str, section: Mapping[str, Any], kinds: dict[str, str]) -> dict[str, str]:
    """An instance's inputs."""
    fields = result_fields(command(kinds[name])[0])
    try:
        inputs = references(section)
        for path, named in inputs.items():
            require_inputs(path, named, kinds, fields)
        require_no_bare_names(section, kinds, fields)
    except ConfigError as error:
        raise ConfigError(f"stages.{name}.{error}") from None
    return inputs


def _order(needs: dict[str, set[str]]) -> list[str]:
    """Of those that can be next, the one that the config has first."""
    written, sorter = list(needs), TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))  # graphlib names what is needed before what needs it
        told = "; ".join(f"{one} reads {{{FROM}: {other}}}" for one, other in pairwise(circle))
        raise ConfigError(f"stages: a cycle, so none of these can be first: {told}") from None
    order, ready = list[str](), list[str]()
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=written.index)
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return order


def _places(config: PipelineConfig, run: str) -> dict[str, str]:
    """Where each instance's result goes."""
    places, taken = dict[str, str](), {run: "the run itself"}
    for name, section in config.sections.items():
        given = section.get("output")
        place = storage.normalise(given) if isinstance(given, str) and given else storage.join(run, name)
        if place in taken:
            raise ConfigError(
                f"stages.{name}.output={given or place}: also the output of {taken[place]}; give each stage an output "
                "of its own"
            )
        places[name], taken[place] = place, f"stages.{name}"
    return places


def _require_fitting(instance: Instance, graph: Graph) -> None:
    made: dict[str, BaseModel] = {path: graph[name].config for path, name in instance.inputs.items()}
    try:
        instance.config.require(made)
    except ConfigError as error:
        raise ConfigError(f"stages.{instance.name}.{error}") from None
