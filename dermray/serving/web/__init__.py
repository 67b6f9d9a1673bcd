"""The page at `/`: plain HTML, one stylesheet, scripts without a build step. `routes.web` serves what `FILES` lists."""

from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
# Nothing else of this directory is ever served, whatever lies in it.
FILES = (
    "style.css", "icon.svg", "main.js", "key.js", "api.js", "dom.js", "fields.js", "attributes.js", "generate.js",
    "vary.js", "drawing.js", "jobs.js", "gallery.js", "png.js", "zip.js", "classify.js", "scores.js", "runs.js",
    "reader.css", "reader.js", "reader_asks.js", "reader_form.js", "reader_outbox.js", "reader_pictures.js",
    "reader_review.js",
)  # fmt: skip


@cache
def content(name: str) -> bytes:
    """One of the files, or `index.html`."""
    return (HERE / name).read_bytes()


def kind(name: str) -> str:
    """Its media type."""
    return f"{KINDS[name.rpartition('.')[2]]}; charset=utf-8"
