"""Modules import each other in one direction, also within functions."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "dermray").rglob("*.py")
}


def imported(path: Path) -> Iterator[str]:
    """Our modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module in FILES:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in FILES else node.module for name in below)


def test_no_module_imports_itself_through_others() -> None:
    graph = {name: set(imported(path)) - {name} for name, path in FILES.items()}
    assert "dermray.captioning.settings" in graph["dermray.captioning.remote"]
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules
