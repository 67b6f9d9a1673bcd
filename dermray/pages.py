"""HTML pages that need nothing beside them: templates over one base, images inside."""

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent
SIDE = 512  # px of a photograph on a page: dozens of them lie in one file


@dataclass(frozen=True)
class Block:
    """What a stage has to say of its result in a run's report."""

    title: str
    html: str  # a part of a page; see pipeline/report.html for its styles
    facts: dict[str, Any] = field(default_factory=dict)  # for summary.json
    lines: tuple[str, ...] = ()  # to print when the run is done


def render(template: Path, **values: Any) -> str:
    """The template filled in; it may extend `base.html`, and a value it lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader([template.parent, HERE]), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = lambda value, digits=3: "n/a" if value is None else f"{value:.{digits}f}"
    return environment.get_template(template.name).render(**values)


def data_url(image: bytes) -> str:
    """An encoded PNG, WebP or JPEG as a URL that holds it."""
    kind = "png" if image[:4] == b"\x89PNG" else "webp" if image[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
