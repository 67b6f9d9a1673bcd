"""Distances, pixel metrics and diversity, out of the evaluate stage's long table."""

from collections.abc import Iterator
from typing import Any

from dermray.evaluation.table import rows
from dermray.manifest import Result
from dermray.papers.measured import Measured, Run
from dermray.papers.setting import Setting

ALL = "all"
PIXELS = ("ssim", "psnr", "mse")
SCALES = 5  # of MS-SSIM, as Wang, Simoncelli and Bovik (2003) define it


def measured(name: str, result: Result, run: Run) -> Iterator[Measured]:
    """Every row of `table.csv`, and the real images' own diversity."""
    told = result.manifest.metrics
    extractors = {each["name"]: number for number, each in enumerate(told["extractors"])}
    common = Setting(data=run.data(result), image_size=told["image_size"])
    here = {"stage": "evaluate", "instance": name}
    for row in rows(told):
        place = extractors.get(row.get("extractor", ""))
        yield Measured(
            here | _where(row, place),
            row.get("value"),
            row.get("low"),
            row.get("high"),
            row.get("floor"),
            _setting(row, place, result, run).over(common),
            (*_doubts(row), *_of_ms_ssim(row, told)),
        )
    if (diversity := told["real_diversity"].get("ms_ssim")) is not None:
        doubts = _small_ssim(told["real_diversity"])
        yield Measured(here | {"metric": "ms_ssim_of_real"}, diversity, setting=common, doubts=doubts)


def _where(row: dict[str, Any], place: int | None) -> dict[str, str]:
    where = {"source": row["source"], "metric": row["metric"]}
    where |= {name: row.get(name) or ALL for name in ("attribute", "group")}
    where |= {"extractor_place": str(place + 1)} if place is not None else {}
    return where | ({"rule": row["rule"]} if row.get("rule") else {})


def _setting(row: dict[str, Any], place: int | None, result: Result, run: Run) -> Setting:
    config, sources = result.manifest.config, result.manifest.metrics["sources"]
    first = row["source"] == next(iter(sources))  # the stage names the first one's input after the field alone
    drawn = run.input(result, "synthetic" if first else f"synthetic {row['source']}")
    kind = config["extractors"][place]["kind"] if place is not None else None
    sample = sources[row["source"]]["sample"] if row["metric"] == "ms_ssim" else None
    return Setting(
        images=row.get("n_synthetic") or sample,
        of_real=row.get("n_real") or None,
        real=config["real"] if place is not None else None,
        extractor=kind,
        pairing=row["rule"] if row["metric"] in PIXELS else None,
        generator=run.family(drawn),
    )


def _of_ms_ssim(row: dict[str, Any], told: dict[str, Any]) -> tuple[str, ...]:
    return _small_ssim(told["sources"][row["source"]]["diversity"]) if row["metric"] == "ms_ssim" else ()


def _small_ssim(diversity: dict[str, Any]) -> tuple[str, ...]:
    """Whether images were too small for all scales of MS-SSIM."""
    if diversity.get("scales", SCALES) == SCALES:
        return ()
    window = diversity["kernel"]
    return (f"at this size MS-SSIM has {diversity['scales']} scales and a window of {window} px, not {SCALES} and 11",)


def _doubts(row: dict[str, Any]) -> tuple[str, ...]:
    note = row.get("note", "")
    return (note,) if note and not note.startswith(("in the column floor", "all images")) else ()
