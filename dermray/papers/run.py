"""The compare-paper stage: results of a run in, a paper's numbers with ours beside them out."""

import hashlib
from collections.abc import Mapping

from dermray import manifest, storage
from dermray.manifest import Result, Rows
from dermray.pages import Block
from dermray.papers import shown
from dermray.papers.comparison import compare
from dermray.papers.ours import measured
from dermray.papers.published import TABLES, read
from dermray.papers.settings import TAKEN
from dermray.papers.settings import ComparePaperConfig as ComparePaperConfig  # beside `run`, as every stage has its own

STAGE = "compare-paper"
PAGE, BLOCK, CSV = "comparison.html", "block.html", "comparison.csv"


def run(config: ComparePaperConfig) -> Result:
    """Compare and write; reads manifests, and of an ingest small columns of the rows.

    Raises:
        FileNotFoundError, ValueError: a result that is not there, or of a stage that says nothing about a paper.
    """
    paper = read(config.paper)
    results = {name: _result(name, uri) for name, uri in config.results.items()}
    inputs = {f"results.{name}": result for name, result in results.items()}
    published = hashlib.sha256((TABLES / f"{config.paper}.yaml").read_bytes()).hexdigest()[:16]
    with manifest.work(STAGE, config.output, config, inputs, published=published) as work:
        if work.finished:
            return work.finished
        rows = compare(paper, measured(results), config.scale)
        for name, text in {
            PAGE: shown.page(paper, rows, config.scale),
            BLOCK: shown.block(paper, rows, config.scale),
            CSV: shown.as_csv(paper, rows),
        }.items():
            storage.write_bytes(storage.join(work.data, name), text.encode())
        counts = shown.counts(rows)
        print(f"      {shown.in_short(paper, counts)}", flush=True)
        laid_out = Rows(rows_in=len(rows), ok=len(rows), rejected=0, failed=0)
        return work.commit(laid_out, len(rows), counts=counts, summary=shown.text(paper, rows), page=PAGE)


def report_block(result: Result, inputs: Mapping[str, Result]) -> Block:
    """All tables; in the summary how many numbers there are, and how many can be compared."""
    paper, counts = read(result.manifest.config["paper"]), result.manifest.metrics["counts"]
    html = storage.read_bytes(storage.join(result.data, BLOCK)).decode()
    return Block(f"Beside paper {paper.number}", html, counts, (shown.in_short(paper, counts),))


def _result(name: str, uri: str) -> Result:
    result = manifest.read(uri)
    if result.manifest.stage not in TAKEN:
        raise ValueError(
            f"results.{name}={uri}: result of stage {result.manifest.stage!r}, which says nothing about a paper's "
            f"numbers; expected one of {', '.join(TAKEN)}"
        )
    return result
