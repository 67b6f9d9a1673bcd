"""Run a graph of stages, each as soon as what it needs is there; then its report.

A stage whose manifest answers already costs nothing, so the same command goes on after a kill. After a failure no
further stage starts, and those under way are waited for.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from graphlib import TopologicalSorter
from typing import Any

from dermray import manifest, storage
from dermray.manifest import Result
from dermray.memory import PeakMemory
from dermray.pipeline import report
from dermray.pipeline.commands import command
from dermray.pipeline.graph import Graph, Instance, PipelineConfig, chosen, load
from dermray.pipeline.told import Told

Start = Callable[[Instance], Future[Result]]


def run(config: PipelineConfig, only: Iterable[str] = (), until: Iterable[str] = ()) -> dict[str, Any]:
    """The chosen stages (default: all), then `report.html` and `summary.json` in the run's directory.

    Args:
        only: these instances alone. until: these, and all that they need.

    Returns:
        The summary.

    Raises:
        ConfigError: see `load` and `chosen`. What the first stage that failed raised; with `parallel` above 1 a
            RuntimeError with its words.
    """
    graph = load(config)
    names = chosen(graph, only, until)
    directory = storage.normalise(config.output)
    storage.make_directory(directory)
    with PeakMemory(directory) as memory:
        results = _completed(graph, names, config.parallel)
    earlier = _earlier(graph, results)
    return report.write(directory, graph, results | earlier, memory, config, earlier.keys())


def in_order(graph: Graph, names: list[str], start: Start, parallel: int = 1) -> dict[str, Result]:
    """Start each of these instances when all that it needs among them is done, at most `parallel` at a time; of those
    that could start, the one that `names` has first.

    Returns:
        Results by name, in the order of `names`.

    Raises:
        What the first one that failed raised, after those under way have ended.
    """
    sorter = TopologicalSorter({name: graph[name].before & set(names) for name in names})
    sorter.prepare()
    ready, running = list[str](), dict[Future[Result], str]()
    results, failed = dict[str, Result](), dict[str, BaseException]()
    while True:
        ready = sorted([*ready, *sorter.get_ready()], key=names.index)
        while ready and len(running) < parallel and not failed:
            name = ready.pop(0)
            running[start(graph[name])] = name
        if not running:
            break
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            name = running.pop(future)
            if error := future.exception():
                failed[name] = error
            else:
                results[name] = future.result()
                sorter.done(name)
    if failed:
        _say_what_is_left([name for name in names if name not in results.keys() | failed.keys()], failed)
        raise next(iter(failed.values()))
    return {name: results[name] for name in names}


def _earlier(graph: Graph, results: Mapping[str, Result]) -> dict[str, Result]:
    """Of instances that this start did not include the results that are there, if made from those that are here now."""
    found = dict[str, Result]()
    for name, instance in graph.items():  # inputs stand before
        if name in results or not instance.finished:
            continue
        before = [results.get(each) or found.get(each) for each in instance.before]
        result = manifest.read(instance.result)
        keys = set(result.manifest.inputs.values())
        if result.manifest.stage == instance.stage and all(each and each.manifest.key in keys for each in before):
            found[name] = result
    return found


def _completed(graph: Graph, names: list[str], parallel: int) -> dict[str, Result]:
    told = Told(names)
    if parallel == 1:
        return in_order(graph, names, lambda instance: _here(instance, told))
    from dermray.pipeline.processes import Processes

    with Processes(parallel) as processes:
        return in_order(graph, names, lambda instance: processes.start(instance, told), parallel)


def _here(instance: Instance, told: Told) -> Future[Result]:
    """In this process, and in its main thread: signals are that one's."""
    future: Future[Result] = Future()
    began = told.begins(instance)
    try:
        result = command(instance.stage)[1](instance.config)
    except Exception as error:
        future.set_exception(error)
    else:
        told.ended(instance, result, began)
        future.set_result(result)
    return future


def _say_what_is_left(never: list[str], failed: dict[str, BaseException]) -> None:
    names = " and ".join(failed)
    print(f"dermray: {names} failed" + (f"; not run: {', '.join(never)}" if never else ""), file=sys.stderr, flush=True)
