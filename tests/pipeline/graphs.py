"""Random graphs of stages of nothing."""

from hypothesis import strategies as st

from dermray.pipeline import Graph, Instance


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to eight stages, each of which may read any of those before it."""
    graph: Graph = {}
    for number in range(draw(st.integers(1, 8))):
        reads = draw(st.sets(st.sampled_from(sorted(graph)))) if graph else set()
        name = f"s{number}"
        graph[name] = Instance(name, "train", None, {}, {f"field.{i}": other for i, other in enumerate(sorted(reads))})
    return graph
