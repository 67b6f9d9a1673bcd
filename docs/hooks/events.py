"""What MkDocs calls while it builds the site, by name: pages are added, links of the repository become the site's."""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.hooks.pages import DOCS, OVERVIEW, STAGES, generated, overview, page_of, reference, with_numbers

ROOT = DOCS.parent
FIGURES = "benchmarks/results"
# Pages that are files of the repository's, outside docs/.
FILES = {
    "operations/clusters.md": "cluster/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
} | {f"figures/{file.name}": f"{FIGURES}/{file.name}" for file in sorted((ROOT / FIGURES).glob("*.md"))}
LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=[#)])")
# A link of a file that is no page.
CODE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:dermray|tests|jobs)/[^)]*\)")
PICTURE = re.compile(r'<img alt="[^"]*" src="(?:\.\./)?images/road\.svg" ?/?>')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills the parts of the menu that are empty in mkdocs.yml."""
    stages = ["stages/index.md", *({name: page_of(name)} for name in STAGES)]
    config.nav = _filled(
        config.nav, {"Stages": stages, "Figures": [uri for uri in FILES if uri.startswith("figures/")]}
    )
    return config


def _filled(nav: Any, lists: dict[str, list[Any]]) -> Any:
    if isinstance(nav, list):
        return [_filled(item, lists) for item in nav]
    if isinstance(nav, dict):
        return {name: lists[name] if below == [] else _filled(below, lists) for name, below in nav.items()}
    return nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds pages that have no file in docs/."""
    written = {file.src_uri for file in files}
    for uri, text in generated():
        if uri not in written:
            files.append(File.generated(config, uri, content=text))
    for uri, path in FILES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A stage's page ends with its presets and its config, a paper's holds its numbers."""
    uri = page.file.src_uri
    markdown = with_numbers(markdown.replace(OVERVIEW, overview()) if uri == "stages/index.md" else markdown)
    for stage in STAGES:
        if uri == page_of(stage):
            markdown = f"{markdown.strip()}\n\n{reference(stage)}"
    return LINK.sub(lambda found: linked(found[1], uri), CODE.sub(r"\1", markdown))


def linked(target: str, uri: str) -> str:
    """A link of the repository's as one of the site's page `uri`; it is left alone where it leads elsewhere."""
    if ":" in target or target.startswith("/"):
        return target
    meant = ((ROOT / FILES.get(uri, f"docs/{uri}")).parent / target).resolve()
    if not meant.is_relative_to(ROOT):
        return target
    path = meant.relative_to(ROOT).as_posix()
    pages = {repository: page for page, repository in FILES.items()} | {"README.md": "index.md"}
    return Path(os.path.relpath(pages.get(path, path.removeprefix("docs/")), Path(uri).parent)).as_posix()


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The picture stands in the page itself, so that it has the page's colours, dark or light."""
    return PICTURE.sub(lambda _: (DOCS / "images/road.svg").read_text(), html)
