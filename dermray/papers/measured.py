"""A number of ours, and the results of a run by which it can be placed beside a paper's."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dermray.manifest import Result
from dermray.papers.setting import Setting


@dataclass(frozen=True)
class Measured:
    """One number of a stage's result."""

    where: Mapping[str, str]  # stage, instance (its name in the run), metric, and what else tells it from others
    value: float | None  # None: not computed, and `doubts` say why
    low: float | None = None  # of its 95% interval
    high: float | None = None
    floor: float | None = None  # what it would be without any effect: see the stage's page
    setting: Setting = field(default_factory=Setting)
    doubts: tuple[str, ...] = ()  # why it says little, whatever it is compared with


class Run:
    """Finished results by their stage's name in the run. Results of stages that are not among them are unknown."""

    def __init__(self, results: Mapping[str, Result]) -> None:
        """Reads nothing."""
        self.results = dict(results)
        self._by_key = {result.manifest.key: result for result in results.values()}

    def input(self, result: Result, name: str) -> Result | None:
        """What the result was made from."""
        return self._by_key.get(result.manifest.inputs.get(name, ""))

    def data(self, result: Result) -> tuple[str, ...] | None:
        """Sources of the real rows behind it, each once."""
        ingested = self._ingested(result)
        if ingested is None:
            return None
        return tuple(dict.fromkeys(given["source"] for given in ingested.manifest.config["sources"]))

    def split(self, result: Result) -> Literal["random", "official", "grouped"]:
        """How the real rows behind it were parted."""
        if not result.manifest.leaking_groups:
            return "grouped"
        ingested = self._ingested(result)
        by_image = ingested.manifest.metrics.get("split_by_image", {}) if ingested else {}
        return "official" if by_image.get("published_test_split") else "random"

    def family(self, drawn: Result | None) -> str | None:
        """Of the generator behind a result of the generate stage."""
        generator = self.input(drawn, "generator") if drawn else None
        return generator.manifest.config["family"] if generator else None

    def _ingested(self, result: Result) -> Result | None:
        return next((each for each in self._behind(result) if each.manifest.stage == "ingest"), None)

    def _behind(self, result: Result) -> Iterator[Result]:
        """It, and the rows that it was made from, back to where they came from."""
        while True:
            yield result
            earlier = self.input(result, "rows") or self.input(result, "study")
            if earlier is None:
                return
            result = earlier
