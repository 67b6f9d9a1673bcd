"""A run's graph as SVG, from left to right: a column a level, as few crossings as a few sweeps find.

The layout is Sugiyama's (1981): an input that is several levels away passes through a place of its own in each column
between, columns are ordered by the mean place of their neighbours, and then moved towards these.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from dermray.pipeline.graph import Graph, Instance, levels

LETTER, PAD, BOX, GAP = 7.6, 22, 40, 46  # px: width of a letter, room beside a label, height of a box, between columns
ROOM, THROUGH = 14, 12  # px: between boxes; height of a place that an input passes through
SWEEPS = 8  # of ordering, and of moving: more change nothing for graphs of dozens of stages


@dataclass
class Spot:
    """A box, or the place where an input passes through a column."""

    column: int
    instance: Instance | None = None
    height: float = THROUGH
    y: float = 0.0  # of its middle
    near: dict[int, list["Spot"]] = field(default_factory=lambda: {-1: [], 1: []})  # in the columns before and after

    def mean(self, side: int) -> float:
        """The mean place of its neighbours there; its own without any."""
        there = self.near[side]
        return sum(spot.y for spot in there) / len(there) if there else self.y


def as_svg(graph: Graph, run: Collection[str], told: Collection[str] = ()) -> str:
    """An inline SVG; instances outside `run` are dashed, those of `told` lead to the page's part of their name."""
    columns, ways = _spots(graph)
    _arrange(columns)
    xs, widths = _across(columns)
    top = min(spot.y - spot.height / 2 for column in columns for spot in column)
    bottom = max(spot.y + spot.height / 2 for column in columns for spot in column)
    width, height = xs[-1] + widths[-1] + 4, bottom - top + 4
    parts = [
        f'<svg class="graph" role="img" aria-label="The stages of this run and what they read" width="{width:.0f}" '
        f'viewBox="-1 {top - 2:.0f} {width:.0f} {height:.0f}" xmlns="http://www.w3.org/2000/svg" '
        'font-family="system-ui, sans-serif">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#8a98a6"/></marker></defs>',
        *(_way(way, xs, widths, title) for way, title in ways),
        *(
            _link(spot.instance.name, spot.instance.name in told, _box(spot, xs, widths, spot.instance.name in run))
            for spot in _boxes(columns)
            if spot.instance
        ),
        "</svg>",
    ]
    return "\n".join(parts)


def _spots(graph: Graph) -> tuple[list[list[Spot]], list[tuple[list[Spot], str]]]:
    """Columns of spots, and each input's way through them with what it is."""
    level = {name: number for number, names in enumerate(levels(graph)) for name in names}
    boxes = {name: Spot(level[name], instance, BOX) for name, instance in graph.items()}
    columns: list[list[Spot]] = [[] for _ in range(max(level.values()) + 1)]
    for box in boxes.values():
        columns[box.column].append(box)
    ways = []
    for name, instance in graph.items():
        for before in sorted(instance.before, key=list(graph).index):
            through = [Spot(column) for column in range(level[before] + 1, level[name])]
            for spot in through:
                columns[spot.column].append(spot)
            way = [boxes[before], *through, boxes[name]]
            for one, next_one in pairwise(way):
                one.near[1].append(next_one)
                next_one.near[-1].append(one)
            fields = ", ".join(path for path, named in instance.inputs.items() if named == before)
            ways.append((way, f"{name} reads {before} ({fields})"))
    return columns, ways


def _arrange(columns: list[list[Spot]]) -> None:
    """Give every spot its `y`."""
    for column in columns:
        _stack(column)
    for sweep in range(SWEEPS):
        for column, side in _there_and_back(columns, sweep):
            column.sort(key=lambda spot: spot.mean(side))
            _stack(column)
    for sweep in range(SWEEPS):
        for column, side in _there_and_back(columns, sweep):
            for spot in column:
                spot.y = spot.mean(side)
            _apart(column)


def _there_and_back(columns: list[list[Spot]], sweep: int) -> Iterator[tuple[list[Spot], int]]:
    """Columns from the left, which look left, and in every second sweep from the right."""
    side = 1 if sweep % 2 else -1
    for column in reversed(columns) if sweep % 2 else columns:
        yield column, side


def _stack(column: list[Spot]) -> None:
    """One below the other, around 0."""
    y = -sum(spot.height + ROOM for spot in column) / 2
    for spot in column:
        spot.y = y + spot.height / 2
        y += spot.height + ROOM


def _apart(column: list[Spot]) -> None:
    """Where they are too near, move them apart, the upper half up and the lower half down."""
    middle = len(column) // 2
    for order, way in ((range(middle + 1, len(column)), 1), (range(middle - 1, -1, -1), -1)):
        for number in order:
            spot, beside = column[number], column[number - way]
            least = (spot.height + beside.height) / 2 + ROOM
            if way * (spot.y - beside.y) < least:
                spot.y = beside.y + way * least


def _across(columns: list[list[Spot]]) -> tuple[list[float], list[float]]:
    """Left edge and width of each column."""
    widths = [max(map(_width, _boxes([column]))) for column in columns]
    xs, x = [], 0.0
    for width in widths:
        xs.append(x)
        x += width + GAP
    return xs, widths


def _boxes(columns: Iterable[list[Spot]]) -> Iterator[Spot]:
    return (spot for column in columns for spot in column if spot.instance is not None)


def _width(spot: Spot) -> float:
    assert spot.instance is not None
    return max(len(spot.instance.name), len(spot.instance.stage)) * LETTER + PAD


def _way(way: list[Spot], xs: list[float], widths: list[float], title: str) -> str:
    """A curve between columns, a straight line through one."""
    x, y = xs[way[0].column] + widths[way[0].column], way[0].y
    path = [f"M{x:.0f} {y:.1f}"]
    for spot in way[1:]:
        left = xs[spot.column] - (1 if spot.instance else 0)
        bend = (x + left) / 2
        path.append(f"C{bend:.0f} {y:.1f} {bend:.0f} {spot.y:.1f} {left:.0f} {spot.y:.1f}")
        x, y = xs[spot.column] + widths[spot.column], spot.y
        if not spot.instance:
            path.append(f"L{x:.0f} {y:.1f}")
    return (
        f'<path d="{"".join(path)}" fill="none" stroke="#8a98a6" stroke-width="1.3" marker-end="url(#head)">'
        f"<title>{escape(title)}</title></path>"
    )


def _box(spot: Spot, xs: list[float], widths: list[float], ran: bool) -> str:
    assert spot.instance is not None
    name, stage = spot.instance.name, spot.instance.stage
    x, width, y = xs[spot.column], widths[spot.column], spot.y
    look = 'fill="#eaf1f8" stroke="#30638e"' if ran else 'fill="#fff" stroke="#999" stroke-dasharray="4 3"'
    middle = x + width / 2
    lines = [(name, 13, "#222", y + 4.5)] if name == stage else [(name, 13, "#222", y - 2), (stage, 11, "#666", y + 13)]
    texts = "".join(
        f'<text x="{middle:.0f}" y="{line:.1f}" font-size="{size}" fill="{colour}" text-anchor="middle">{escape(text)}'
        "</text>"
        for text, size, colour, line in lines
    )
    return f'<rect x="{x:.0f}" y="{y - BOX / 2:.1f}" width="{width:.0f}" height="{BOX}" rx="5" {look}/>{texts}'


def _link(name: str, told: bool, box: str) -> str:
    return f'<a href="#{escape(name)}">{box}</a>' if told else box
