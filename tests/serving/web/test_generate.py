"""Images drawn in the browser."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dermray.serving.generation import Drawn
from dermray.serving.keys import Keys
from dermray.serving.settings import Jobs, ServiceConfig
from tests.serving.models import text_of
from tests.serving.web.conftest import Visited
from tests.serving.web.here import served_here
from tests.serving.web.visiting import draw, log_in

pytestmark = pytest.mark.slow
RED = "red."


def test_images_come_with_what_it_takes_to_draw_them_again(page: Any, visited: Visited, tmp_path: Path) -> None:
    log_in(page, visited)
    page.get_by_label("Label", exact=True).select_option("malignant")
    page.get_by_label("Skin tone", exact=True).select_option("B (III–IV)")
    draw(page, "Done: 3 images.", Prompt=RED, Images="3", Seed="7")
    tiles = page.locator("#gallery figure")
    assert [tile.split("\n")[0] for tile in tiles.all_inner_texts()] == ["Seed 7", "Seed 8", "Seed 9"]
    tiles.nth(1).get_by_text("Provenance").click()
    said = tiles.nth(1).inner_text()
    with page.expect_download() as saved:
        tiles.nth(1).get_by_role("button", name="Download").click()
    png = Path(saved.value.path()).read_bytes()
    text = text_of(png)
    assert text["prompt"] == "malignant, skin tone B: red." and text["seed"] == "8"
    for value in text.values():
        assert value in said
    assert "sample id" in said and "none: this service does not sign" in said
    with page.expect_download() as archive:
        page.get_by_role("button", name="Download all").click()
    with zipfile.ZipFile(io.BytesIO(Path(archive.value.path()).read_bytes())) as opened:
        assert opened.testzip() is None and len(opened.namelist()) == 3
        assert png in [opened.read(name) for name in opened.namelist()]


def test_one_attribute_is_varied_and_nothing_else(page: Any, visited: Visited) -> None:
    log_in(page, visited)
    asked: list[dict[str, Any]] = []
    page.on("request", lambda one: asked.append(json.loads(one.post_data)) if one.method == "POST" else None)
    page.get_by_label("Attribute", exact=True).select_option("Skin tone")
    draw(page, "Done: 6 images.", Prompt=RED, Images="2")
    assert [body.pop("attributes") for body in asked] == [{"skin_tone": tone} for tone in "ABC"]
    assert asked[0] == asked[1] == asked[2] and isinstance(asked[0]["seed"], int)
    rows = page.locator("#gallery .row-of")
    assert rows.count() == 2
    captions = [text.split("\n")[0] for text in rows.nth(0).locator("figure").all_inner_texts()]
    assert captions == ["Tone A (I–II)", "Tone B (III–IV)", "Tone C (V–VI)"]
    assert f"Seed {asked[0]['seed']}" in rows.nth(0).inner_text()
    assert page.locator("#gallery img").count() == 6


@pytest.mark.parametrize(
    ("label", "value", "said"),
    [
        ("Images", "100000", "Got 100000: expected at most 1000."),
        ("Steps", "9999", "Got 9999: expected at most 250."),
        ("Guidance", "50", "less than or equal to 20"),
        ("Seed", "9007199254740992", "less than 9007199254740992"),
        ("Prompt", "", "Expected at least one character, or attributes"),
    ],
)
def test_a_mistake_is_told_beside_its_field(page: Any, visited: Visited, label: str, value: str, said: str) -> None:
    log_in(page, visited)
    page.get_by_label("Prompt", exact=True).fill(RED)
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    page.get_by_role("button", name="Draw").click()
    error = page.locator(".field", has=page.get_by_label(label, exact=True)).locator(".error")
    error.wait_for()
    assert said in error.inner_text()
    assert field.get_attribute("aria-invalid") == "true"
    assert error.get_attribute("id") in str(field.get_attribute("aria-describedby"))
    assert field.evaluate("field => field === document.activeElement")
    field.fill("2" if label != "Prompt" else RED)
    draw(page, "Done:", Steps="1")
    assert page.locator("#generate-form .error").count() == 0


def test_two_attributes_that_exclude_one_another_and_too_few_values(page: Any, visited: Visited) -> None:
    log_in(page, visited)
    page.get_by_label("Label", exact=True).select_option("benign")
    page.get_by_label("Diagnosis", exact=True).select_option("melanoma")
    page.get_by_role("button", name="Draw").click()
    page.get_by_text("Mel is malignant; leave one of them out").wait_for()
    page.get_by_label("Attribute", exact=True).select_option("Sex")
    page.get_by_label("female", exact=True).uncheck()
    page.get_by_role("button", name="Draw").click()
    page.get_by_text("Tick at least two values").wait_for()


def test_words_that_the_model_does_not_know_are_named(page: Any, visited: Visited) -> None:
    log_in(page, visited)
    draw(page, "Done: 1 image.", Prompt="malignant, skin tone B: red xylophone.", Images="1")
    assert "does not know: xylophone" in page.locator("#g-notes").inner_text()


def test_a_drawing_goes_on_after_a_reload_and_is_cancelled(page: Any, visited: Visited) -> None:
    log_in(page, visited)
    page.get_by_label("Prompt", exact=True).fill(RED)
    page.get_by_label("Images", exact=True).fill("400")
    page.get_by_label("Steps", exact=True).fill("250")
    page.get_by_role("button", name="Draw").click()
    page.get_by_text("of 100000 steps").wait_for()
    page.reload()
    page.get_by_text("of 100000 steps").wait_for()
    assert page.get_by_label("Prompt", exact=True).input_value() == RED
    assert page.get_by_label("Images", exact=True).input_value() == "400"
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled:").wait_for()
    assert page.get_by_role("button", name="Cancel").count() == 0
    assert page.evaluate("document.activeElement.id") == "g-draw", "keyboards go on from there, not from the top"
    page.reload()
    page.get_by_text("Cancelled:").wait_for()  # told again, and not begun again


def test_progress_is_polled_where_events_do_not_come(page: Any, visited: Visited) -> None:
    page.route("**/events", lambda route: route.abort())
    log_in(page, visited)
    draw(page, "Done: 2 images.", Prompt=RED, Images="2")
    assert page.locator("#gallery img").count() == 2


def test_where_nothing_draws_nothing_can_be_asked_for(
    page: Any, models_here: ServiceConfig, replicas_here: dict[str, Any]
) -> None:
    scoring = models_here.model_copy(update={"models": models_here.models[1:]})
    with served_here(scoring, Keys(["k"]), replicas_here) as url:
        log_in(page, Visited(url, "k"))
        page.get_by_text("No model for drawing is served here.").wait_for()
        assert page.get_by_role("button", name="Draw").get_attribute("aria-disabled") == "true"


def test_a_key_that_may_not_draw_is_told_so(page: Any, visited: Visited) -> None:
    log_in(page, visited, key=visited.scorer)
    draw(page, "This key may not generate: its scopes are", Prompt=RED)


def test_a_key_that_is_taken_away_meanwhile_is_asked_for_again(page: Any, visited: Visited) -> None:
    log_in(page, visited)
    page.evaluate("sessionStorage.setItem('dermray-key', 'taken-away')")
    page.get_by_label("Prompt", exact=True).fill(RED)
    page.get_by_role("button", name="Draw").click()
    page.get_by_text("API key not accepted.").wait_for()
    page.get_by_label("API key", exact=True).fill(visited.key)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Generate").wait_for()
    assert page.get_by_label("Prompt", exact=True).input_value() == RED, "what was written is still there"


def test_the_keyboard_alone_is_enough(page: Any, visited: Visited) -> None:
    page.goto(visited.url)
    page.get_by_label("API key", exact=True).wait_for()
    page.keyboard.type(visited.key)  # the field has the focus
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Generate").wait_for()
    _tab_to(page, "g-malignant")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    _tab_to(page, "g-prompt")
    page.keyboard.type(RED)
    _tab_to(page, "g-n")
    page.keyboard.type("2")  # replaces what a tab selects
    _tab_to(page, "g-vary")
    page.keyboard.press("ArrowDown")
    _tab_to(page, "value-2")
    page.keyboard.press("Space")  # tone C is left out
    _tab_to(page, "g-draw")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "focus is seen"
    page.keyboard.press("Enter")
    page.get_by_text("Done: 4 images.").wait_for()
    assert "malignant, skin tone A: red." in page.locator("#gallery img").first.get_attribute("alt")


def _tab_to(page: Any, identity: str) -> None:
    for _ in range(60):
        if page.evaluate("document.activeElement.id") == identity:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{identity} is not reached by Tab")


@pytest.fixture(scope="module")
def unlocked(models_here: ServiceConfig, replicas_here: dict[str, Any]) -> Iterator[str]:
    with served_here(models_here, Keys([], off=True), replicas_here) as url:
        yield url


def test_without_keys_nobody_is_asked_for_one(page: Any, unlocked: str) -> None:
    page.goto(unlocked)
    page.get_by_role("heading", name="Generate").wait_for()
    draw(page, "Done: 1 image.", Prompt=RED, Images="1")
    assert page.get_by_role("button", name="Log out").count() == 0


class Gated:
    """A generator whose gate refuses every third seed."""

    def __init__(self, replica: Any) -> None:
        self.replica = replica

    def __getattr__(self, method: str) -> Any:
        return getattr(self.replica, method)

    async def stream(self, method: str, drawing: Any) -> Any:
        async for told in self.replica.stream(method, drawing):
            if isinstance(told, Drawn):
                yield Drawn(told.seed, None if told.seed % 3 == 0 else told.png, 0.5 if told.seed % 3 == 0 else 1.25)
            else:
                yield told


def test_what_the_gate_refused_is_shown_in_its_place(
    page: Any, models_here: ServiceConfig, replicas_here: dict[str, Any], tmp_path: Path
) -> None:
    gated = replicas_here | {"pixel": Gated(replicas_here["pixel"])}
    # a database of its own: services of one share their jobs, and the others' gate refuses nothing
    jobs = Jobs(database=f"sqlite:///{tmp_path}/jobs.db", place=str(tmp_path / "jobs"))
    with served_here(models_here.model_copy(update={"jobs": jobs}), Keys([], off=True), gated) as url:
        page.goto(url)
        draw(page, "Done: 2 images, 1 refused by the gate.", Prompt=RED, Images="3", Seed="2")
        told = page.locator("#gallery figure").all_inner_texts()
        page.goto("about:blank")
    assert "1.25 × the least distance allowed" in told[0] and "Seed 2" in told[0]
    assert "Refused by the memorisation gate" in told[1] and "0.5 of that" in told[1] and "Seed 3" in told[1]


def test_a_service_that_is_gone_for_a_moment_ends_no_drawing(page: Any, visited: Visited) -> None:
    log_in(page, visited)
    gone = [0]

    def fail(route: Any) -> None:
        gone[0] += 1
        if gone[0] <= 3:
            route.abort()
        else:
            route.continue_()

    page.route("**/v1/jobs/*", fail)
    draw(page, "Done: 2 images.", Prompt=RED, Images="2")
    assert gone[0] > 3
    page.unroute("**/v1/jobs/*")
    page.route("**/v1/jobs", lambda route: route.abort())
    draw(page, "The service cannot be reached.")


def test_an_image_is_given_to_the_key_whose_job_it_is_alone(page: Any, visited: Visited) -> None:
    log_in(page, visited)
    draw(page, "Done: 1 image.", Prompt=RED, Images="1")
    job = page.evaluate("JSON.parse(sessionStorage.getItem('dermray-drawing')).parts[0].id")
    url = f"{visited.url}/v1/jobs/{job}/images/0/png"
    own = httpx.get(url, headers={"Authorization": f"Bearer {visited.key}"})
    assert own.status_code == 200 and own.headers["content-type"] == "image/png"
    assert own.headers["cache-control"] == "private, no-store", "a cache asks for no key"
    other = httpx.get(url, headers={"Authorization": f"Bearer {visited.scorer}"})
    assert other.status_code == 404 and other.json()["error"]["code"] == "job_not_found"
    assert httpx.get(url).status_code == 401
