"""Runs, looked at in the browser."""

from typing import Any

import pytest

from tests.serving.web.conftest import Visited
from tests.serving.web.visiting import log_in

pytestmark = pytest.mark.slow


def test_a_report_opens_in_a_tab_where_nothing_runs(page: Any, context: Any, shown: Visited) -> None:
    log_in(page, shown, "Runs")
    page.get_by_role("heading", name="clinic", exact=True).wait_for()
    sweep = page.locator(".stage", has=page.get_by_role("heading", name="sweep")).first
    assert "11 of 12 rows" in sweep.inner_text() and "NO synthetic better" in sweep.inner_text()
    with context.expect_page() as opened:
        page.get_by_role("link", name="Report, clinic, in a new tab").click()
    report = opened.value
    assert report.locator("#said").inner_text() == "Twelve of twelve."
    colour = report.locator("#said").evaluate("one => getComputedStyle(one).color")
    assert colour == "rgb(0, 128, 0)", "its own style is read"
    assert report.evaluate("document.referrer") == ""
    assert report.evaluate("window.origin") == "null", "a stranger to the page that has the key"


def test_a_key_that_may_see_no_runs_and_a_service_that_has_none(page: Any, shown: Visited, visited: Visited) -> None:
    log_in(page, shown, "Runs", shown.scorer)
    page.get_by_text("This key may not browse: its scopes are").wait_for()
    log_in(page, visited, "Runs")
    page.get_by_text("This service shows no run").wait_for()
