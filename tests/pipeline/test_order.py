"""In which order a run's stages start, side by side or not, and what a failure leaves undone: stages of nothing."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.pipeline import Graph, Instance
from dermray.pipeline.graph import ancestors, chosen, levels
from dermray.pipeline.run import in_order
from tests.pipeline.graphs import graphs

RESULT: Any = SimpleNamespace()


class Cluster:
    """Ends, of the stages at work, the one that `which` names, whenever as many are at work as may be."""

    def __init__(self, which: int, parallel: int, fails: str | None = None) -> None:
        self.which, self.parallel, self.fails = which, parallel, fails
        self.said: list[tuple[str, str]] = []
        self.at_work: dict[str, Future[Any]] = {}

    def start(self, instance: Instance) -> Future[Any]:
        self.said.append(("begins", instance.name))
        future = self.at_work[instance.name] = Future()
        return future

    def wait(self, running: Any, return_when: str) -> Any:
        """In the place of concurrent.futures.wait: time passes here, and only here."""
        assert 0 < len(self.at_work) <= self.parallel
        name = sorted(self.at_work)[self.which % len(self.at_work)]
        future = self.at_work.pop(name)
        self.said.append(("ends", name))
        if name == self.fails:
            future.set_exception(ValueError(name))
        else:
            future.set_result(RESULT)
        return SimpleNamespace(done={future})

    def times(self, name: str) -> list[int]:
        return [time for time, (_, said) in enumerate(self.said) if said == name]


def completed(graph: Graph, names: list[str], cluster: Cluster) -> list[tuple[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dermray.pipeline.run.wait", cluster.wait)
        assert list(in_order(graph, names, cluster.start, cluster.parallel)) == names
    return cluster.said


@given(graphs(), st.integers(0, 7), st.integers(1, 3))
def test_every_stage_begins_after_all_that_it_reads_has_ended(graph: Graph, which: int, parallel: int) -> None:
    cluster = Cluster(which, parallel)
    completed(graph, list(graph), cluster)
    for name, instance in graph.items():
        begun, _ = cluster.times(name)  # once each
        assert all(cluster.times(before)[1] < begun for before in instance.before)
    assert [name for level in levels(graph) for name in level] == sorted(graph, key=lambda n: (level_of(graph, n), n))


def level_of(graph: Graph, name: str) -> int:
    """The longest way to it, by definition."""
    return max((1 + level_of(graph, before) for before in graph[name].before), default=0)


@given(graphs(), st.data())
def test_until_runs_the_ancestors_and_nothing_else(graph: Graph, data: st.DataObject) -> None:
    until = data.draw(st.sets(st.sampled_from(sorted(graph)), min_size=1))
    names = chosen(graph, until=until)
    needed = {name for name in graph if any(_leads_to(graph, name, goal) for goal in until)}
    assert set(names) == needed == ancestors(graph, until)
    assert {name for _, name in completed(graph, names, Cluster(0, 2))} == needed


def _leads_to(graph: Graph, name: str, goal: str) -> bool:
    return name == goal or any(_leads_to(graph, name, before) for before in graph[goal].before)


@given(graphs(), st.integers(0, 7), st.integers(1, 3), st.data())
def test_after_a_failure_nothing_starts_and_what_is_at_work_ends(
    graph: Graph, which: int, parallel: int, data: st.DataObject
) -> None:
    cluster = Cluster(which, parallel, fails=data.draw(st.sampled_from(sorted(graph))))
    with pytest.raises(ValueError, match=f"^{cluster.fails}$"):
        completed(graph, list(graph), cluster)
    after = cluster.said[cluster.said.index(("ends", str(cluster.fails))) + 1 :]
    assert all(what == "ends" for what, _ in after) and not cluster.at_work


def test_what_a_failure_leaves_undone_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    reads = {"a": {}, "b": {"rows": "a"}, "c": {"rows": "b"}, "d": {"rows": "a"}}
    graph = {name: Instance(name, "train", None, {}, inputs) for name, inputs in reads.items()}
    cluster = Cluster(0, 1, fails="b")
    with pytest.raises(ValueError, match="b"):
        completed(graph, list(graph), cluster)
    assert capsys.readouterr().err == "dermray: b failed; not run: c, d\n"
