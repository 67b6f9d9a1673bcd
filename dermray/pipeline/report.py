"""One self-contained page and one summary.json of a run, made of the blocks that its stages contribute.

A stage's module may have `report_block(result, inputs) -> Block`. Nothing here knows a stage by name.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from dermray import manifest, pages, storage
from dermray.leak_mark import leak_mark
from dermray.manifest import Result
from dermray.memory import PeakMemory
from dermray.pages import Block
from dermray.pipeline.commands import module_of
from dermray.pipeline.graph import Graph, Instance, PipelineConfig
from dermray.pipeline.picture import as_svg
from dermray.result_fields import named_results


def write(
    run: str, graph: Graph, results: Mapping[str, Result], memory: PeakMemory, config: PipelineConfig,
    earlier: Collection[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """`summary.json` and `report.html` into the run's directory, of these results by instance.

    Args:
        earlier: those that this start found there and did not ask for.

    Returns:
        The summary, with `lines`, which are worth printing.
    """
    results = {name: results[name] for name in graph if name in results}
    blocks = {name: block_of(graph[name], result) for name, result in results.items()}
    summary: dict[str, Any] = {
        "scale": config.scale,
        "stages": {name: _numbers(graph[name], result) | blocks[name].facts for name, result in results.items()},
        "peak_rss_bytes": memory.peak,
        "peak_rss_measured": memory.measured,
    }
    marks = {name: leak_mark(result.manifest.leaking_groups) for name, result in results.items()}
    page = pages.render(
        Path(__file__).parent / "report.html",
        title=config.title if config.scale is None else f"{config.title}, scale {config.scale}",
        notes=[*filter(None, dict.fromkeys(marks.values())), *config.remarks],
        picture=as_svg(graph, set(results), {name for name, block in blocks.items() if block.html}),
        graph=graph,
        results=results,
        blocks=blocks,
        marks=marks,
        earlier=earlier,
        left=[name for name in graph if name not in results],
        licences=sorted({licence for result in results.values() for licence in result.manifest.licences}),
        summary=summary,
    )
    storage.write_bytes(storage.join(run, "summary.json"), json.dumps(summary, indent=1).encode())
    storage.write_bytes(storage.join(run, "report.html"), page.encode())
    return summary | {"lines": list(_lines(blocks))}


def _lines(blocks: Mapping[str, Block]) -> Iterator[str]:
    """What blocks would have printed; with their stage's name where several would."""
    several = sum(bool(block.lines) for block in blocks.values()) > 1
    for name, block in blocks.items():
        yield from (f"{name}: {line}" if several else line for line in block.lines)


def block_of(instance: Instance, result: Result) -> Block:
    """The stage's own block, or what its manifest says in words."""
    contribute = getattr(module_of(instance.stage), "report_block", None)
    if contribute is not None:
        block: Block = contribute(result, inputs_of(instance))
        return block
    said = str(result.manifest.metrics.get("summary", ""))
    page = result.manifest.metrics.get("page")
    html = f"<pre>{escape(said)}</pre>" if said else ""
    if page:
        html += f'<p class="small">Its own page: <code>{escape(storage.join(result.data, str(page)))}</code></p>'
    return Block(instance.stage, html)


def inputs_of(instance: Instance) -> dict[str, Result]:
    """The results that an instance read, by the field that names them; of this run or not."""
    found = dict[str, Result]()
    for field, place in named_results(instance.config):
        if "://" in place and not storage.is_s3(place):
            continue
        if storage.exists(storage.join(storage.normalise(place), "manifest.json")):
            found[field] = manifest.read(place)
    return found


def _numbers(instance: Instance, result: Result) -> dict[str, Any]:
    rows = result.manifest.rows.model_dump(exclude={"reasons"})
    leaking = result.manifest.leaking_groups
    marked = {"leaking_groups": sum(leaking.values())} if leaking else {}
    return {"stage": instance.stage} | rows | marked | {"seconds": round(result.manifest.seconds, 1)}
