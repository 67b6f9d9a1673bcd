"""The picture and the listing of a graph."""

import json
import re
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given

from dermray.config import load, preset
from dermray.pipeline import Graph, PipelineConfig
from dermray.pipeline import load as graph_of
from dermray.pipeline.listing import as_text
from dermray.pipeline.picture import as_svg
from tests.pipeline.graphs import graphs

SVG = "{http://www.w3.org/2000/svg}"


def boxes_of(picture: ElementTree.Element) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom."""
    found = []
    for box in picture.iter(f"{SVG}rect"):
        x, y, width, height = (float(box.attrib[name]) for name in ("x", "y", "width", "height"))
        found.append((x, y, x + width, y + height))
    return found


@given(graphs())
def test_every_stage_is_one_box_and_every_input_an_arrow_between_them(graph: Graph) -> None:
    picture = ElementTree.fromstring(as_svg(graph, {"s0"}))
    names = [text.text for text in picture.iter(f"{SVG}text") if text.text != "train"]
    assert sorted(names, key=str) == sorted(graph)
    boxes = boxes_of(picture)
    for one, other in combinations(boxes, 2):
        assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1], "they overlap"
    left, top, width, height = map(float, picture.attrib["viewBox"].split())
    assert all(
        left <= x and top <= y and right <= left + width and bottom <= top + height for x, y, right, bottom in boxes
    )
    arrows = [path for path in picture.iter(f"{SVG}path") if "marker-end" in path.attrib]
    assert len(arrows) == sum(len(instance.before) for instance in graph.values())
    for arrow in arrows:
        straight = re.findall(r"([\d.]+) (-?[\d.]+)L([\d.]+) ", arrow.attrib["d"])  # through a column
        for x, y, end in straight:
            assert not any(box[0] < float(end) and float(x) < box[2] and box[1] < float(y) < box[3] for box in boxes)


def test_a_stage_that_did_not_run_is_dashed() -> None:
    graph = graph_of(load(PipelineConfig, preset("pipeline/quickstart")))
    assert as_svg(graph, {"ingest", "captioner"}).count("stroke-dasharray") == 5


def test_the_listing_has_levels_inputs_and_what_would_run(tmp_path: Path) -> None:
    graph = graph_of(load(PipelineConfig, preset("pipeline/quickstart"), [f"output={tmp_path}"]))
    (tmp_path / "ingest").mkdir()
    (tmp_path / "ingest" / "manifest.json").write_text("{}")
    lines = as_text(graph, ["ingest", "captioner", "caption"]).splitlines()
    assert lines[0].startswith("3 of 7 stages would run")
    assert lines[1].split() == ["1", "ingest", "ingest", "finished"]
    assert lines[3].split() == [
        "2",
        "caption",
        "caption",
        "to",
        "run",
        "rows",
        "<-",
        "ingest,",
        "captioner",
        "<-",
        "captioner",
    ]
    assert "not chosen" in lines[4] and sorted(p.name for p in tmp_path.iterdir()) == ["ingest"], "nothing is started"


def test_a_comparison_of_captioners_is_finished_by_its_audit_and_again_by_that_with_grades(tmp_path: Path) -> None:
    graph = graph_of(load(PipelineConfig, preset("papers/dermaflux"), ["scale=smoke", f"output={tmp_path}"]))
    instance = graph["compare_captioners"]
    for answers in (None, {"expert": "ada", "seed": 0, "grades": {}}):
        if answers:
            experts = tmp_path / "compare_captioners" / "experts"
            experts.mkdir()
            (experts / "ada.json").write_text(json.dumps(answers))
        assert not instance.finished
        Path(instance.result).mkdir(parents=True)
        (Path(instance.result) / "manifest.json").write_text("{}")
        [line] = [line for line in as_text(graph, [*graph]).splitlines() if "  compare_captioners " in line]
        assert "  finished  " in line
