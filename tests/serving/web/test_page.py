"""The page's shell in a browser: who is let in, and what is said to whom is not."""

from typing import Any

import pytest

from tests.serving.web.conftest import Visited

pytestmark = pytest.mark.slow


def log_in(page: Any, visited: Visited, view: str = "") -> None:
    """Open a view with the key."""
    page.goto(f"{visited.url}/{view}")
    page.get_by_label("API key", exact=True).fill(visited.key)
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", level=1).wait_for()


def test_a_key_is_asked_for_and_forgotten_again(page: Any, visited: Visited) -> None:
    page.goto(visited.url)
    page.get_by_role("heading", name="Your API key").wait_for()
    assert page.locator("#key").get_attribute("type") == "password"
    page.get_by_label("API key", exact=True).fill("wrong")
    page.keyboard.press("Enter")
    page.get_by_text("API key not accepted.").wait_for()
    assert page.evaluate("document.activeElement.id") == "key"
    page.get_by_label("API key", exact=True).fill(visited.key)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Generate").wait_for()
    page.reload()
    page.get_by_role("heading", name="Generate").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("heading", name="Your API key").wait_for()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
