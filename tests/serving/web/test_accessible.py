"""Every view by axe-core, in light and dark, on a desk and on a phone."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.serving.classifiers import encoded, picture
from tests.serving.web.conftest import Visited
from tests.serving.web.visiting import draw, log_in

Axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed: pip install -e '.[dev]'"
).Axe
pytestmark = pytest.mark.slow
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def check(page: Any, what: str) -> None:
    """No violation, and nothing wider than the window."""
    for scheme, width in itertools.product(("light", "dark"), (360, 1280)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(500)  # until nothing fades in any more: axe reads colours as they are
        found = Axe().run(page, options=RULES).response["violations"]
        told = [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]
        assert not told, f"{what}, {scheme}: " + "\n".join(told)
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1] == width, f"{what}: {wide[0]} px in a window of {wide[1]}"


def test_every_view_is_clean(page: Any, shown: Visited, tmp_path: Path) -> None:
    page.goto(shown.url)
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("Enter the key").wait_for()
    check(page, "login")
    log_in(page, shown)
    check(page, "generate, empty")
    draw(page, "Done: 2 images.", Prompt="red xylophone malignant skin tone B.", Images="2")
    page.get_by_text("Provenance").first.click()
    check(page, "generate, drawn")
    page.get_by_label("Attribute", exact=True).select_option("Skin tone")
    draw(page, "Done: 3 images.", Images="1")
    check(page, "vary")
    draw(page, "expected at most 250", Steps="999")
    check(page, "an error")
    (tmp_path / "lesion.png").write_bytes(encoded(picture(1), "PNG"))
    (tmp_path / "broken.png").write_bytes(b"no image")
    page.get_by_role("link", name="Classify").click()
    page.get_by_role("heading", name="Classify").wait_for()  # hidden fields take files before anybody listens
    page.set_input_files("#c-files", [tmp_path / "lesion.png", tmp_path / "broken.png"])
    page.get_by_label("Show what the answer depends on").check()
    page.get_by_role("button", name="Score").click()
    page.get_by_text("Scored 1 image; 1 could not be.").wait_for()
    check(page, "classify")
    page.get_by_role("link", name="Runs").click()
    page.locator(".stage").first.wait_for()
    check(page, "runs")


def test_nothing_moves_where_people_want_none(page: Any, visited: Visited) -> None:
    page.emulate_media(reduced_motion="reduce")
    log_in(page, visited)
    draw(page, "Done: 1 image.", Prompt="red.", Images="1")
    assert page.evaluate("document.getAnimations().length") == 0
    moving = "getComputedStyle(document.querySelector('#gallery img')).animationName"
    assert page.evaluate(moving) == "none"


def test_progress_is_announced(page: Any, visited: Visited) -> None:
    log_in(page, visited)
    assert page.locator("#g-status").get_attribute("role") == "status"
    draw(page, "Done: 2 images.", Prompt="red.", Images="2")
    assert page.locator("progress").get_attribute("id") == "g-bar"
    assert page.locator("label[for=g-bar]").count() == 1
