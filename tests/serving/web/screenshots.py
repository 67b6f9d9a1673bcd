"""The pictures of the page in docs/images: `python -m tests.serving.web.screenshots runs/quickstart [docs/images]`.

They show a real run's models at work in this process, and no more than a browser shows.
"""

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from PIL import Image

from dermray import manifest
from dermray.config import validate
from dermray.picked import pick, take
from dermray.serving.keys import Keys
from dermray.serving.runs import with_models_of_run
from dermray.serving.settings import ServiceConfig
from tests.serving.web.browsers import launched
from tests.serving.web.here import replicas, served_here

PROMPT, KEY = "asymmetric lesion, irregular border, black.", "screenshots"


def main(run: str, target: Path) -> None:
    """Write them, and say how large they are."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        jobs = {"database": f"sqlite:///{scratch}/jobs.db", "place": f"{scratch}/images"}
        config = with_models_of_run(validate(ServiceConfig, {"run": run, "jobs": jobs}))
        with served_here(config, Keys([KEY]), replicas(config)) as url, launched() as browser:
            pictures = _photographs(run, Path(scratch))
            for name, scheme, width, views in SHOTS:
                page = browser.new_page(viewport={"width": width, "height": 860}, color_scheme=scheme)
                _log_in(page, url)
                for view in views:
                    view(page, pictures)
                    if width < 600:
                        page.evaluate("document.querySelector('section:not([hidden]) .results').scrollIntoView()")
                    _save(page.screenshot(), target / f"{name}{view.__name__[1:]}.png")
                page.close()


def _log_in(page: Any, url: str) -> None:
    page.goto(url)
    page.get_by_label("API key", exact=True).fill(KEY)
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="Generate").wait_for()


def _lesion(page: Any) -> None:
    page.get_by_label("Label", exact=True).select_option("true")
    page.get_by_label("Prompt", exact=True).fill(PROMPT)
    page.get_by_label("Seed", exact=True).fill("11")


def _generate(page: Any, _: list[Path]) -> None:
    _lesion(page)
    page.get_by_label("Skin tone", exact=True).select_option("B")
    page.get_by_label("Images", exact=True).fill("6")
    _draw(page, "Done: 6 images")
    page.get_by_text("Provenance").first.click()


def _vary(page: Any, _: list[Path]) -> None:
    _lesion(page)
    page.get_by_label("Attribute", exact=True).select_option("skin_tone")
    page.get_by_label("Images", exact=True).fill("2")
    _draw(page, "Done: 6 images")


def _draw(page: Any, done: str) -> None:
    page.get_by_role("button", name="Draw").click()
    page.get_by_text(done).wait_for(timeout=120_000)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.wait_for_timeout(600)


def _classify(page: Any, pictures: list[Path]) -> None:
    page.get_by_role("link", name="Classify").click()
    page.get_by_role("heading", name="Classify").wait_for()  # hidden fields take files before anybody listens
    page.set_input_files("#c-files", pictures)
    page.get_by_label("Show what the answer depends on").check()
    page.get_by_role("button", name="Score").click()
    page.get_by_text(f"Scored {len(pictures)} images").wait_for(timeout=120_000)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.wait_for_timeout(300)


def _runs(page: Any, _: list[Path]) -> None:
    page.get_by_role("link", name="Runs").click()
    page.locator(".stage").first.wait_for()
    page.evaluate("document.activeElement.blur()")


def _photographs(run: str, directory: Path) -> list[Path]:
    """Three images of the run's test split, as files, and one file that is none."""
    rows = manifest.read(f"{run}/caption").row_files()
    picked = pick(rows, ["source_id"], (pc.field("split") == "test") & (pc.field("status") == "ok"), 3)
    files = []
    for number, image in enumerate(take(picked)):
        files.append(directory / f"lesion-{number + 1}.png")
        files[-1].write_bytes(image)
    files.append(directory / "notes.txt.png")
    files[-1].write_bytes(b"no image at all")
    return files


def _save(shot: bytes, path: Path) -> None:
    """Of 256 colours: a page is mostly paper, and small files keep the repository small."""
    with Image.open(io.BytesIO(shot)) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}  {path.stat().st_size / 1000:.0f} kB", flush=True)


SHOTS = (
    ("", "light", 1200, (_generate, _vary, _classify, _runs)),
    ("dark-", "dark", 1200, (_vary, _classify)),
    ("phone-", "light", 360, (_vary, _classify)),
)

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "docs/images"))
