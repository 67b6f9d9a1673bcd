"""Images scored in the browser."""

from pathlib import Path
from typing import Any

import pytest

from tests.serving.classifiers import encoded, picture
from tests.serving.web.conftest import Visited
from tests.serving.web.visiting import log_in

pytestmark = pytest.mark.slow


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three images of three kinds."""
    kinds = ("PNG", "JPEG", "TIFF")
    found = [tmp_path / f"lesion-{kind.lower()}.{kind.lower()}" for kind in kinds]
    for number, (path, kind) in enumerate(zip(found, kinds, strict=True)):
        path.write_bytes(encoded(picture(number), kind))
    return found


def score(page: Any, files: list[Path], said: str) -> None:
    page.set_input_files("#c-files", files)
    page.get_by_role("button", name="Score").click()
    page.get_by_text(said).wait_for()


def test_each_image_gets_bars_or_what_is_wrong_with_it(page: Any, visited: Visited, files: list[Path]) -> None:
    broken = files[0].with_name("broken.png")
    broken.write_bytes(b"no image")
    log_in(page, visited, "Classify")
    score(page, [*files, broken], "Scored 3 images; 1 could not be.")
    articles = page.locator("#scores article")
    assert articles.count() == 4
    for number in range(3):
        shares = (
            articles.nth(number)
            .get_by_role("meter")
            .evaluate_all("all => all.map((one) => Number(one.getAttribute('aria-valuenow')))")
        )
        assert len(shares) == 2 and abs(sum(shares) - 1) < 1e-6
        assert f"{100 * shares[0]:.1f} %" in articles.nth(number).inner_text()
    assert "Not scored" in articles.nth(3).inner_text() and "not an image" in articles.nth(3).inner_text().lower()
    assert "On the validation split" in page.locator("#c-about").inner_text()
    assert page.get_by_text("not for diagnosis").first.is_visible()
    page.wait_for_function("document.querySelectorAll('.thumbs .none').length === 2")  # TIFF, and what is no image


def test_saliency_is_shown_of_more_images_than_a_request_takes(page: Any, visited: Visited, files: list[Path]) -> None:
    log_in(page, visited, "Classify")
    page.get_by_label("Show what the answer depends on").check()
    score(page, [*files, *files], "Scored 6 images.")  # the service explains four at a time
    assert page.locator("#scores article img[src^='data:image/png']").count() == 6
    assert page.get_by_text("percentage points").count() == 6


def test_images_that_can_all_not_be_read_are_each_told_why(page: Any, visited: Visited, tmp_path: Path) -> None:
    for name, content in (("one.png", b"no image"), ("two.png", b"")):
        (tmp_path / name).write_bytes(content)
    log_in(page, visited, "Classify")
    page.get_by_role("button", name="Score").click()
    page.get_by_text("Choose at least one image.").wait_for()
    score(page, [tmp_path / "one.png", tmp_path / "two.png"], "Scored 0 images; 2 could not be.")
    texts = page.locator("#scores article .error").all_inner_texts()
    assert "not an image" in texts[0].lower() and "empty" in texts[1].lower()


def test_images_are_dropped_and_taken_away_by_keyboard(page: Any, visited: Visited, files: list[Path]) -> None:
    log_in(page, visited, "Classify")
    page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["x"], "dropped.png", { type: "image/png" }));
          const drop = new DragEvent("drop", { dataTransfer: data, bubbles: true });
          document.querySelector("#classify").dispatchEvent(drop);
        }"""
    )
    page.get_by_role("button", name="Remove dropped.png").focus()
    page.keyboard.press("Enter")
    assert page.locator("#c-chosen li").count() == 0
    assert page.evaluate("document.activeElement.id") == "c-files"
