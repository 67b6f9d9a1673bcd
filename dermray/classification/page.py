"""A sweep's pictures beside its manifest, and its page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermray import pages, storage
from dermray.classification.held_out import HeldOut, Scored
from dermray.classification.panels import captions

TEMPLATE = Path(__file__).parent / "page.html"
PLACE = "pictures"


def write(
    directory: str, title: str, tested: Sequence[tuple[dict[str, Any], Sequence[Scored], Sequence[HeldOut]]], mark: str
) -> None:
    """Draw each test set's pictures to `<directory>/pictures/<number>/`, and `page.html`, which holds them.

    Args:
        tested: of each test set its analysis, all classifiers on it, and the set. Each analysis is told what
            they show, and their names, by which `pictures` finds them again. mark: of `leak_mark`.
    """
    from dermray.classification.sweep_plots import draw

    drawn = []
    for number, (analysis, scored, held_out) in enumerate(tested):
        images = draw(analysis, scored, held_out)
        analysis["captions"] = captions(scored, held_out)
        analysis["pictures"] = {name: f"{PLACE}/{number}/{name}" for name in images}
        storage.make_directory(storage.join(directory, PLACE, str(number)))
        for name, image in images.items():
            storage.write_bytes(storage.join(directory, analysis["pictures"][name]), image)
        drawn.append((analysis, {name: pages.data_url(image) for name, image in images.items()}))
    text = pages.render(TEMPLATE, title=title, tested=drawn, mark=mark)
    storage.write_bytes(storage.join(directory, "page.html"), text.encode())


def pictures(directory: str, analysis: dict[str, Any]) -> dict[str, str]:
    """The pictures of an analysis as URLs that hold them, by name."""
    return {
        name: pages.data_url(storage.read_bytes(storage.join(directory, path)))
        for name, path in analysis["pictures"].items()
    }
