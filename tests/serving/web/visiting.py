"""What all visits to the page do."""

from typing import Any

from tests.serving.web.conftest import Visited


def log_in(page: Any, visited: Visited, view: str = "Generate", key: str | None = None) -> None:
    """A view, opened with a key."""
    page.goto(f"{visited.url}/#{view.lower()}")
    page.get_by_label("API key", exact=True).fill(key or visited.key)
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name=view, exact=True).wait_for()


def draw(page: Any, said: str, **fields: str) -> None:
    """Fill in the form by its labels, draw, and wait for what is said at the end."""
    for label, value in fields.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Draw").click()
    page.get_by_text(said).wait_for()
