"""The reader study in a browser, from a built study to `analyse`, and what readers and networks do on the way."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dermray.config import validate
from dermray.manifest import Result
from dermray.reader_study import analyse, key
from dermray.reader_study.settings import AnalyseConfig
from dermray.serving.jobs.ledger import Ledger
from dermray.serving.keys import Keys
from dermray.serving.reading import command
from dermray.serving.reading.book import Book
from dermray.serving.reading.register import Register
from dermray.serving.settings import ServiceConfig
from tests.serving.reading.conftest import built_study as built_study
from tests.serving.reading.conftest import shown_study as shown_study
from tests.serving.reading.conftest import study_config
from tests.serving.web.here import served_here

pytestmark = pytest.mark.slow


@dataclass
class Study:
    """A service with a study of 14 images, and what its operator has."""

    url: str
    config: ServiceConfig
    built: Result
    codes: dict[str, str]

    def answers(self, reader: str = "jane") -> dict[int, dict[str, str]]:
        """What the database has, by place."""
        ledger = Ledger(str(self.config.jobs.database))
        book = Book(Register(ledger.engine))
        study = key.opened(self.built)[1]
        found = next(one for one in book.register.all(study) if one.name == reader)
        kept = {answer.place: answer.said for answer in book.of(found).values()}
        ledger.engine.dispose()
        return kept


@pytest.fixture
def study(built_study: Result, shown_study: Path, tmp_path: Path) -> Iterator[Study]:
    config = study_config(shown_study, f"sqlite:///{tmp_path}/jobs.db")
    said = command.codes(config, "skin", ["jane", "joe"], False)
    codes = dict(line.split() for line in said.splitlines() if line.startswith("  "))
    with served_here(config, Keys(["operator"]), {}) as url:
        yield Study(url, config, built_study, codes)


def enter(page: Any, study: Study, reader: str = "jane") -> None:
    """Open the page and give the code."""
    page.goto(f"{study.url}/reader-study/skin")
    page.get_by_label("Your code").fill(study.codes[reader])
    page.keyboard.press("Enter")


def begin(page: Any, study: Study, reader: str = "jane") -> None:
    """To the first image."""
    enter(page, study, reader)
    page.get_by_role("button", name="Start").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    at(page, 1)


def at(page: Any, place: int) -> None:
    """Wait for an image."""
    page.get_by_role("heading", name=f"Image {place} of 14", exact=True).wait_for()
    page.get_by_role("img", name=f"Image {place} of 14", exact=True).wait_for()


def saved(page: Any) -> None:
    page.get_by_text("All answers are saved.").wait_for()


def press(page: Any, *keys: str) -> None:
    for one in keys:
        page.keyboard.press(one)


def test_by_keyboard_alone_from_a_built_study_to_its_analysis(page: Any, study: Study, tmp_path: Path) -> None:
    traffic: list[Any] = []
    bodies: dict[str, str] = {}

    def noted(asked: Any) -> None:
        traffic.append(answer := asked.response())
        if "json" in answer.headers.get("content-type", ""):
            bodies[answer.url] = answer.text()  # while the browser has it

    page.on("requestfinished", noted)
    begin(page, study)
    box = page.get_by_role("img", name="Image 1 of 14").bounding_box()
    assert box["width"] == pytest.approx(box["height"]) and box["width"] > 300, "no lesion is stretched"
    for place in range(1, 15):
        at(page, place)
        press(page, str(1 + place % 7), "o" if place % 2 else "a")
        if place == 3:  # confidence, by keyboard too
            press(page, "Tab")
            page.keyboard.type("80")
        press(page, "Enter")
    page.get_by_text("All 14 images are answered.").wait_for()
    saved(page)
    page.get_by_role("button", name="Finish").focus()
    press(page, "Enter")
    page.get_by_role("dialog").get_by_text("14 of 14 images are answered.").wait_for()
    press(page, "Tab", "Enter")
    page.get_by_role("heading", name="Thank you").wait_for()
    _hides_the_key(traffic, bodies, study)
    page.reload()
    page.get_by_role("heading", name="Thank you").wait_for()

    said = command.answers(study.config, "skin", ["jane"], f"{tmp_path}/answers")
    assert said.endswith("jane.csv: 14 of 14 images answered, finished")
    words = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    kept = study.answers()
    assert kept[3] == {"entity": "df", "origin": "original", "origin_confidence": "80"}
    assert [kept[place]["entity"] for place in range(1, 15)] == [words[place % 7] for place in range(1, 15)]
    config = {"output": f"{tmp_path}/read", "study": study.built.uri, "answers": [f"{tmp_path}/answers/jane.csv"]}
    read = analyse.run(validate(AnalyseConfig, config | {"resamples": 100}))
    truth = {one.image: one for one in key.opened(study.built)[0].images}
    with (tmp_path / "answers" / "jane.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    right = sum(line["origin"] == truth[line["image"]].origin for line in lines)
    found = read.manifest.metrics["readers"]["jane"]["questions"]["origin"]["whole set"]
    assert (found["right"], found["answered"]) == (right, 14)
    with (tmp_path / "answers" / "log" / "jane.csv").open(encoding="utf-8-sig", newline="") as file:
        assert all(0 <= float(line["seconds"]) < 60 for line in csv.DictReader(file))


def _hides_the_key(traffic: list[Any], bodies: dict[str, str], study: Study) -> None:
    """What of all traffic goes with an image's place: the images' answers, once each, and they are alike."""
    images = {answer.url: answer for answer in traffic if "/images/" in answer.url}
    assert [url.rpartition("/")[2] for url in images] == [str(place) for place in range(1, 15)], "in order of places"
    assert len([answer for answer in traffic if "/images/" in answer.url]) == 14
    told = [
        tuple(sorted(pair for pair in answer.all_headers().items() if pair[0] not in ("date", "x-request-id")))
        for answer in images.values()
    ]  # fmt: skip
    asked = [
        tuple(sorted((name, value) for name, value in answer.request.all_headers().items()))
        for answer in images.values()
    ]
    assert len(set(told)) == 1 and len(set(asked)) == 1
    assert len({answer.request.sizes()["responseBodySize"] for answer in images.values()}) == 1
    sealed = key.opened(study.built)[0]
    assert len({text for url, text in bodies.items() if "/reading/" in url}) == 1 and len(bodies) > 14
    words = [word for one in sealed.images for word in (one.image, one.sha256, one.sample_id, one.group)]
    secrets = {word for word in words if word}
    for answer in traffic:
        text = f"{answer.url} {json.dumps(answer.all_headers())} {answer.request.post_data} {bodies.get(answer.url)}"
        assert not [word for word in secrets if word in text], answer.url


def test_it_goes_on_after_a_reload_and_on_another_device(page: Any, browser: Any, study: Study) -> None:
    begin(page, study)
    press(page, "5", "o", "Enter")
    at(page, 2)
    saved(page)
    press(page, "6", "a")  # chosen, and not sent
    page.reload()
    at(page, 2)
    assert page.get_by_label("nv").is_checked() and page.get_by_label("AI made").is_checked()
    press(page, "Enter")
    at(page, 3)
    saved(page)
    page.get_by_role("button", name="Pause and log out").click()
    page.get_by_label("Your code").wait_for()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0 and not page.context.cookies()
    other = browser.new_context()
    device = other.new_page()
    enter(device, study)
    at(device, 3)
    press(device, "ArrowLeft")
    at(device, 2)
    assert device.get_by_label("nv").is_checked()
    other.close()
    assert study.answers() == {
        1: {"entity": "mel", "origin": "original"},
        2: {"entity": "nv", "origin": "AI"},
    }


def test_a_code_in_two_browsers_asks_first_and_loses_nothing(page: Any, browser: Any, study: Study) -> None:
    begin(page, study)
    press(page, "5", "o", "Enter")
    at(page, 2)
    saved(page)
    other = browser.new_context()
    second = other.new_page()
    enter(second, study)
    dialog = second.get_by_role("dialog")
    dialog.get_by_text("last heard of less than a minute ago").wait_for()
    press(second, "Escape")
    assert second.get_by_label("Your code").is_visible()
    press(page, "6", "a", "Enter")  # nothing was taken over
    at(page, 3)
    saved(page)
    second.get_by_role("button", name="Continue").click()
    dialog.get_by_role("button", name="Go on here", exact=True).click()
    at(second, 3)
    press(second, "1", "a", "Enter")
    at(second, 4)
    saved(second)
    press(page, "2", "o", "Enter")  # the first answers the same image, and is told
    page.get_by_text("This code is now in use in another browser, and this one was ended").wait_for()
    page.get_by_text("1 answer of this tab is not saved yet").wait_for()
    assert study.answers()[3] == {"entity": "akiec", "origin": "AI"}
    page.get_by_label("Your code").fill(study.codes["jane"])
    press(page, "Enter")
    page.get_by_role("button", name="Go on here", exact=True).click()
    page.get_by_text("Saved is: akiec, AI. Not saved is: bcc, original.").wait_for()
    at(page, 3)
    assert page.get_by_label("akiec").is_checked()
    press(page, "2", "Enter")  # now that both are known
    at(page, 4)
    saved(page)
    assert study.answers()[3] == {"entity": "bcc", "origin": "AI"}
    other.close()


def test_answers_of_one_reader_are_never_sent_as_another_s(page: Any, browser: Any, study: Study) -> None:
    begin(page, study)
    page.route("**/reading/*", lambda route: route.abort())
    press(page, "5", "o", "Enter")
    page.get_by_text("1 answer not saved yet").wait_for()
    other = browser.new_context()
    second = other.new_page()
    enter(second, study)
    second.get_by_role("button", name="Go on here", exact=True).click()
    second.get_by_role("button", name="Start").wait_for()
    page.unroute("**/reading/*")
    page.get_by_text("1 answer of this tab is not saved yet").wait_for()
    page.get_by_label("Your code").fill(study.codes["joe"])
    press(page, "Enter")
    page.get_by_role("button", name="Start").wait_for()
    page.get_by_text("Reader joe").wait_for()
    page.wait_for_timeout(300)
    assert study.answers("joe") == {} and study.answers("jane") == {}
    other.close()


def test_two_readers_in_two_tabs_of_one_browser_are_two(page: Any, context: Any, study: Study) -> None:
    begin(page, study)
    tab = context.new_page()
    begin(tab, study, "joe")
    for number, one in (("5", page), ("6", tab)):
        press(one, number, "o", "Enter")
        at(one, 2)
        saved(one)
    assert study.answers("jane") == {1: {"entity": "mel", "origin": "original"}}
    assert study.answers("joe") == {1: {"entity": "nv", "origin": "original"}}


def test_a_lost_response_and_an_outage_lose_nothing_and_count_once(page: Any, study: Study) -> None:
    begin(page, study)
    lost: list[str] = []

    def answer_and_lose(route: Any) -> None:
        if not lost:
            lost.append(route.fetch().text())  # the service has it
            route.abort()
        elif len(lost) < 3:
            lost.append("503")
            error = {"message": "the store of answers is out of reach", "code": "answers_unavailable"}
            route.fulfill(status=503, json={"error": error}, headers={"Retry-After": "1"})
        else:
            route.continue_()

    page.route("**/reading/*", answer_and_lose)
    press(page, "5", "o", "Enter")
    at(page, 2)
    page.get_by_text("1 answer not saved yet: the service cannot be reached.").wait_for()
    press(page, "6", "a", "Enter")
    page.get_by_text("2 answers not saved yet: the store of answers is out of reach.").wait_for()
    saved(page)
    assert lost[0] == '{"revision":1}' and len(lost) == 3
    assert study.answers() == {1: {"entity": "mel", "origin": "original"}, 2: {"entity": "nv", "origin": "AI"}}


def test_what_was_not_saved_is_sent_after_a_reload(page: Any, study: Study) -> None:
    begin(page, study)
    page.route("**/reading/*", lambda route: route.abort())
    press(page, "5", "o", "Enter")
    at(page, 2)
    press(page, "ArrowLeft")
    at(page, 1)
    press(page, "7", "Enter")  # changed before the first was saved
    page.get_by_text("2 answers not saved yet").wait_for()
    warned: list[str] = []

    def leave(dialog: Any) -> None:
        warned.append(dialog.type)
        dialog.accept()

    page.on("dialog", leave)
    page.unroute("**/reading/*")
    page.reload()
    at(page, 2)
    saved(page)
    assert warned == ["beforeunload"]
    assert study.answers() == {1: {"entity": "vasc", "origin": "original"}}


def test_wrong_words_are_told_and_an_unanswered_image_is_found(page: Any, study: Study) -> None:
    page.goto(f"{study.url}/reader-study/skin")
    page.get_by_label("Your code").wait_for()
    press(page, "Enter")
    page.get_by_text("Enter the code that you were given.", exact=True).wait_for()
    page.get_by_label("Your code").fill("nonsense")
    press(page, "Enter")
    page.get_by_text("This code is not one of this study").wait_for()
    begin(page, study)
    press(page, "5", "Tab")
    page.keyboard.type("101")
    press(page, "Enter")
    page.get_by_text("Entity confidence: expected a whole number from 0 to 100, or nothing.").wait_for()
    page.set_viewport_size({"width": 360, "height": 640})
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    assert 0 <= page.evaluate("document.getElementById('told').getBoundingClientRect().top") < 200, "it stays in sight"
    at(page, 1)
    page.locator("#sure-entity").fill("100")
    press(page, "Enter")
    at(page, 2)
    saved(page)
    assert study.answers() == {1: {"entity": "mel", "entity_confidence": "100"}}
    page.get_by_role("button", name="Overview").click()
    page.get_by_text("0 of 14 images answered. 14 images have no whole answer yet; they are dashed.").wait_for()
    page.get_by_role("button", name="Image 1, unanswered").click()
    at(page, 1)
    press(page, "o", "Enter")
    at(page, 2)
    page.get_by_role("button", name="Overview").click()
    page.get_by_role("button", name="Image 1, answered").wait_for()
    page.get_by_role("button", name="Go to the first unanswered image").click()
    at(page, 2)
    page.get_by_label("Keys choose answers").uncheck()
    press(page, "5")
    assert not page.get_by_role("radio", name="mel melanoma").is_checked(), (
        "who speaks to the browser can turn keys off"
    )
    page.goto(f"{study.url}/reader-study/none")
    page.get_by_text("No such reader study: look at the address that you were given.").wait_for()


def test_a_study_that_is_moved_shows_no_image_and_comes_back(page: Any, study: Study, shown_study: Path) -> None:
    begin(page, study)
    page.wait_for_timeout(300)  # image 2 is fetched while this one is looked at
    shown_study.rename(shown_study.with_name("elsewhere"))
    press(page, "5", "o", "Enter")
    at(page, 2)
    press(page, "5", "o", "Enter")
    page.get_by_text("The image cannot be shown: the images of this study are out of reach").wait_for()
    saved(page)
    shown_study.with_name("elsewhere").rename(shown_study)
    at(page, 3)
    assert len(study.answers()) == 2


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_every_view_is_accessible_and_fits(browser: Any, study: Study, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    page = context.new_page()

    def sound(view: str) -> None:
        found = axe.run(page)
        assert found.violations_count == 0, f"{view}: {found.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        assert page.evaluate("document.querySelector('.brand').offsetHeight") < 40, f"{view}: the title is one line"

    page.goto(f"{study.url}/reader-study/skin")
    page.get_by_label("Your code").wait_for()
    sound("login")
    enter(page, study)
    page.get_by_role("button", name="Start").wait_for()
    sound("instructions")
    page.get_by_role("button", name="Start").click()
    at(page, 1)
    sound("reading")
    press(page, "5", "o", "Enter")
    at(page, 2)
    assert page.evaluate("document.activeElement.textContent") == "Image 2 of 14", "which is read aloud"
    page.get_by_role("button", name="Overview").click()
    sound("overview")
    page.get_by_role("button", name="Finish").click()
    page.get_by_role("dialog").wait_for()
    sound("finish?")
    page.get_by_role("dialog").get_by_role("button", name="Finish").click()
    page.get_by_role("heading", name="Thank you").wait_for()
    sound("finished")
    context.close()
