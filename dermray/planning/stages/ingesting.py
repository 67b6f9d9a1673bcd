"""Rows that an ingest will have, at most: it may reject copies, broken images and those that its filters exclude."""

from dermray.datasets.ingest import IngestConfig
from dermray.planning import datasets
from dermray.planning.estimate import Asked, Estimate, no_gpu, on_two_cores
from dermray.planning.figure import Figure, assumed, at_most, computed, product, total
from dermray.planning.outlook import Rows
from dermray.records import SPLITS

WHY = "images of all sources; ingest rejects copies and what cannot be read or used"


def estimate(config: IngestConfig, asked: Asked) -> Estimate:
    """By what lies there, or by published numbers."""
    by_split = [(source.get("split"), datasets.images_of(source)) for source in config.sources]
    if asked.results.given is not None and any(figure.value is None for _, figure in by_split):
        by_split = [(None, assumed(asked.results.given, "--rows"))]
    figures = [figure for _, figure in by_split]
    images = at_most(total(figures, _listed(figures)))
    shares = {name: getattr(config.fractions, name) for name in SPLITS}
    rows = Rows(images, *(_of_split(name, by_split, shares[name]) for name in SPLITS))
    phantoms = all(source.get("source") == "phantom" for source in config.sources)
    amounts = {"rows": images, "rows of the train split": rows.train}
    amounts |= on_two_cores("ingest", images) if phantoms else {}
    notes = ("GPU-hours of the search for near duplicates are not estimated",) if config.near_duplicates else ()
    return Estimate(amounts, no_gpu("it runs on CPUs"), rows, notes)


def _listed(figures: list[Figure]) -> str:
    """Where each figure is from; one sentence where all say the same."""
    known = [f"{figure.value:,.0f} {figure.why}" for figure in figures if figure.value is not None]
    return f"{' + '.join(known)}; copies and unusable images are rejected" if known else WHY


def _of_split(name: str, images: list[tuple[str | None, Figure]], share: float) -> Figure:
    """Those that their publisher put there, and a share of those that it put nowhere."""
    official = [figure for split, figure in images if split == name]
    others = [figure for split, figure in images if split is None]
    why = f"{share:.0%} of what has no official split" if others else "its official split"
    shared = [product([figure, computed(share, why)], why) for figure in others]
    if not official and not shared:
        return computed(0, "no source has such rows")
    return at_most(total([*official, *shared], why))
