"""The site is built as `make docs` builds it: strictly, so that a dead link or a page outside the menu fails."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config

from dermray.papers.published import PAPERS, read
from dermray.pipeline import COMMANDS
from dermray.reference.configs import schema_of
from docs.hooks.events import FILES, linked
from docs.hooks.pages import DOCS, STAGES, page_of
from tests.docs.commands import ROOT

pytestmark = pytest.mark.xdist_group("site")  # built once


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(place), strict=True))
    return place


class Asked(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video"):
            self.found.append(given.get("src") or "")
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.found.append(given.get("href") or "")


def test_no_other_host_is_asked(site: Path) -> None:
    asked = {address for page in site.glob("**/*.html") for address in Asked(page).found}
    assert len(asked) > 10
    assert [address for address in asked if "//" in address] == []
    styles = [
        file for file in site.glob("**/*.css") if re.search(r"url\(\s*['\"]?(?:https?:)?//|@import", file.read_text())
    ]
    assert styles == []


def test_a_papers_page_has_its_numbers(site: Path) -> None:
    for name, page in (("glide_ham10000", "glide"), *((name, name) for name in PAPERS[1:])):
        shown = (site / f"papers/{page}.html").read_text()
        assert "{{" not in shown
        numbers = [cell.text for cell in read(name).cells() if cell.text]
        assert numbers and not [number for number in numbers if f">{number}</td>" not in shown]


def test_every_command_has_a_page_with_all_its_fields(site: Path) -> None:
    assert COMMANDS.keys() <= STAGES.keys()
    for stage in STAGES:
        shown = set(re.findall(r"<code>([^<]*)</code>", (site / page_of(stage)).with_suffix(".html").read_text()))
        assert schema_of(stage)["properties"].keys() <= shown, stage


def test_the_picture_has_the_page_s_colours(site: Path) -> None:
    page = (site / "concepts.html").read_text()
    assert '<svg class="road"' in page and "road.svg" not in page


def names(menu: Any) -> set[str]:
    if isinstance(menu, str):
        return {menu}
    return set().union(*map(names, menu.values() if isinstance(menu, dict) else menu))


def test_every_page_is_in_the_menu() -> None:
    menu = names(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    written = {page.relative_to(DOCS).as_posix() for page in DOCS.glob("**/*.md")}
    assert written - menu - set(map(page_of, STAGES)) == {"stages/index.md"}, "name it under nav in mkdocs.yml"


def test_links_of_the_repository_are_links_of_the_site() -> None:
    assert linked("../benchmarks/results/quickstart.md", "scaling.md") == "figures/quickstart.md"
    assert linked("../../benchmarks/results/quickstart.md", "stages/train.md") == "../figures/quickstart.md"
    assert linked("../docs/scaling.md", "operations/clusters.md") == "../scaling.md"
    assert linked("verdict_coverage.md", "figures/quickstart.md") == "verdict_coverage.md"
    assert linked("https://example.org/a.md", "scaling.md") == "https://example.org/a.md"
    assert all((ROOT / path).is_file() for path in FILES.values())
