"""What is only counted: images that were ingested and drawn, pairs that were written, samples of a training."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from dermray.describe.counts import SIDES, Counts, count
from dermray.manifest import Result
from dermray.papers.measured import Measured, Run
from dermray.papers.setting import Setting

ALL, UNKNOWN = "all", "unknown"
LABELS = {True: "malignant", False: "benign"}
ROUND_TWO = "self-instruct"


def ingested(name: str, result: Result, run: Run) -> Iterator[Measured]:
    """Usable images of each source, by label; of all, by the shorter side too. Reads small columns of the rows."""
    counts, data = count(result.row_files()), run.data(result)
    for metric, held_out in (("images", ()), ("images to learn from", ("test",))):
        here = {"stage": "ingest", "instance": name, "metric": metric}
        for source in (*counts.sources, ALL):
            part = counts if source == ALL else counts.of(source=source)
            setting = Setting(data=data if source == ALL else (source,))
            labelled = _outside(held_out, part, "malignant")
            for label, number in {ALL: labelled.total(), **{LABELS[key]: labelled[key] for key in LABELS}}.items():
                yield Measured(here | {"source": source, "label": label, "scale": ALL}, number, setting=setting)
        sides = _outside(held_out, counts, "side")
        for place, side in enumerate(SIDES, 1):
            where = here | {"source": ALL, "label": ALL, "scale": str(side)}
            yield Measured(where, sides[place], setting=Setting(data=data), doubts=_smaller(sides[0]))


def _smaller(images: int) -> tuple[str, ...]:
    """Images that no scale has."""
    return (f"{images:,} of ours have a shorter side below {SIDES[0]} px and are at no scale",) if images else ()


def _outside(splits: tuple[str, ...], part: Counts, column: str) -> Counter[Any]:
    """Usable images by a column, without those of some splits."""
    counted = part.by(column)
    for split in splits:
        counted -= part.of(split=split).by(column)
    return counted


def drawn(name: str, result: Result, run: Run) -> Iterator[Measured]:
    """Usable synthetic images."""
    where = {"stage": "generate", "instance": name, "metric": "images"}
    yield Measured(where, result.manifest.rows.ok, setting=Setting(generator=run.family(result), data=run.data(result)))


def paired(name: str, result: Result, run: Run) -> Iterator[Measured]:
    """Usable question-answer pairs and the images that have some, by source and modality."""
    here, data = {"stage": "instruct", "instance": name}, run.data(result)
    sums = defaultdict[tuple[str, str], Counter[str]](Counter)
    for line in result.manifest.metrics["instruct"]["statistics"]["by_source"]:
        for source in (ALL, line["source"] or UNKNOWN):
            for modality in (ALL, line["modality"] or UNKNOWN):
                sums[source, modality].update(_numbers(line))
    for (source, modality), found in sums.items():
        setting = Setting(data=data if source == ALL else (source,))
        for metric, number in found.items():
            yield Measured(here | {"source": source, "modality": modality, "metric": metric}, number, setting=setting)


def _numbers(line: dict[str, Any]) -> dict[str, int]:
    return {
        "pairs": line["pairs_ok"],
        "images with pairs": line["images_with_pairs"],
        f"pairs of {ROUND_TWO}": line["by_kind"].get(ROUND_TWO, 0),
    }


def tuned(name: str, result: Result, run: Run) -> Iterator[Measured]:
    """Samples that a vision-language model learned from."""
    where = {"stage": "tune-vlm", "instance": name, "metric": "samples"}
    yield Measured(where, result.manifest.rows.ok, setting=Setting(data=run.data(result)))
