"""All numbers of a run that could stand beside a paper's."""

from collections.abc import Callable, Iterator, Mapping

from dermray.manifest import Result
from dermray.papers.measured import Measured, Run
from dermray.papers.stages import counted, evaluate, reader_study, sweep, vqa

# By the stage whose result it reads. Other stages write no number that a paper has.
READ: Mapping[str, Callable[[str, Result, Run], Iterator[Measured]]] = {
    "ingest": counted.ingested,
    "generate": counted.drawn,
    "evaluate": evaluate.measured,
    "sweep": sweep.measured,
    "reader-study build": reader_study.built,
    "reader-study analyse": reader_study.measured,
    "instruct": counted.paired,
    "tune-vlm": counted.tuned,
    "vqa": vqa.measured,
}


def measured(results: Mapping[str, Result]) -> list[Measured]:
    """Of finished results by their name in the run."""
    run = Run(results)
    found = list[Measured]()
    for name, result in results.items():
        if read := READ.get(result.manifest.stage):
            found += read(name, result, run)
    return found
