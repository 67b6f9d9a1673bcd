"""A run's graph as text."""

from dermray.pipeline.graph import Graph, levels


def as_text(graph: Graph, chosen: list[str]) -> str:
    """A line an instance: its level (those of one level do not need each other), name, stage, inputs and state."""
    name_width, stage_width = (
        max(map(len, texts)) for texts in (graph, [instance.stage for instance in graph.values()])
    )
    lines = [f"{len(chosen)} of {len(graph)} stages would run; those of one level do not need each other"]
    for number, names in enumerate(levels(graph), 1):
        for name in names:
            instance = graph[name]
            reads = ", ".join(f"{field} <- {before}" for field, before in instance.inputs.items())
            state = "finished" if instance.finished else "to run" if name in chosen else "not chosen"
            label = str(number) if name == names[0] else ""
            line = f"{label:>3}  {name:<{name_width}}  {instance.stage:<{stage_width}}  {state:<10}  {reads}"
            lines.append(line.rstrip())
    return "\n".join(lines)
