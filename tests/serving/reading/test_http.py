"""What a page is told, whatever it or the world does wrong."""

import csv
import io
import json
import shutil
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from dermray.serving.api import api_of
from dermray.serving.jobs import tables
from dermray.serving.reading.tries import AT_ONCE
from dermray.serving.service import Service
from tests.serving.reading.conftest import Shown, study_config


def error(answer: Any, status: int, code: str) -> str:
    """Its message."""
    assert answer.status_code == status, answer.text
    said = answer.json()["error"]
    assert said["code"] == code
    return str(said["message"])


def table(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


def test_a_reader_reads_all_and_the_operator_gets_the_form(shown: Shown) -> None:
    jane = shown.begin()
    told = shown.reading(jane)
    assert (told["reader"], told["images"], told["finished"], told["answers"]) == ("jane", 14, False, [])
    assert [(asked["column"], asked["text"][:5]) for asked in told["questions"]] == [
        ("entity", "Which"),
        ("origin", "Is it"),
    ]
    images = [shown.client.get(f"images/{place}", headers=jane).content for place in range(1, 15)]
    assert len(set(images)) == 14 and {image[:8] for image in images} == {b"\x89PNG\r\n\x1a\n"}
    for place in range(1, 15):
        said = {"entity": "nv", "origin": "original", "entity_confidence": place}
        assert shown.put(jane, place, said=said, seconds=1.5).json() == {"revision": 1}
    again = shown.reading(jane)["answers"]
    assert again[4] == {
        "place": 5, "revision": 1, "said": {"entity": "nv", "origin": "original", "entity_confidence": "5"},
    }  # fmt: skip
    assert shown.client.post("finish", json={"answered": 14}, headers=jane).status_code == 204
    operator = {"Authorization": "Bearer operator"}
    rows = table(shown.client.get("answers/jane.csv", headers=operator))
    assert [row["image"] for row in rows] == shown.study.images and {row["study"] for row in rows} == {shown.study.id}
    # what was said of the third image that she saw stands in the line of that very image
    order = shown.study.order(shown.book.register.all(shown.study.id)[0].seed)
    by_image = {row["image"]: row["entity_confidence"] for row in rows}
    assert [by_image[image] for image in order] == [str(place) for place in range(1, 15)]
    assert images[2] == (Path(shown.study.place) / "images" / order[2]).read_bytes()
    assert shown.client.get("readers", headers=operator).json()["data"] == [
        {"name": "jane", "answered": 14, "images": 14, "finished": True},
        {"name": "joe", "answered": 0, "images": 14, "finished": False},
    ]


def test_each_reader_has_an_order_of_the_own_which_stays(shown: Shown) -> None:
    orders = [shown.study.order(reader.seed) for reader in shown.book.register.all(shown.study.id)]
    assert orders[0] != orders[1] != shown.study.images and sorted(orders[0]) == sorted(orders[1])
    seen = []
    for _ in range(2):
        jane = shown.begin(take_over=True)
        seen.append([shown.client.get(f"images/{place}", headers=jane).content for place in (1, 2, 3)])
    assert seen[0] == seen[1]


def test_answers_need_a_key_that_may_see_them(shown: Shown) -> None:
    for path in ("readers", "answers/jane.csv"):
        error(shown.client.get(path), 401, "missing_key")
        error(shown.client.get(path, headers={"Authorization": "Bearer " + "s" * 32}), 403, "missing_scope")
        error(shown.client.get(path, headers=shown.begin(take_over=True)), 401, "invalid_api_key")
    operator = {"Authorization": "Bearer operator"}
    assert "jane, joe" in error(shown.client.get("answers/ann.csv", headers=operator), 404, "unknown_reader")


@pytest.mark.parametrize("code", ["", "wrong", "aaaa-bbbb-cccc-dddd-eeee", "\ud800", "x" * 200])
def test_a_wrong_code_is_refused(shown: Shown, code: str) -> None:
    sent = json.dumps({"code": code}).encode()
    answer = shown.client.post("sessions", content=sent, headers={"Content-Type": "application/json"})
    said = answer.json()["error"]
    assert answer.status_code in (400, 401) and "session" not in answer.json()
    assert said["code"] in ("invalid_code", "invalid_json", "invalid_value") and code[:4] not in said["message"].split()


def test_guesses_have_to_wait_and_right_codes_cost_nothing(shown: Shown) -> None:
    now = 1000.0
    shown.service.room.tries.clock = lambda: now
    for _ in range(AT_ONCE + 5):
        shown.begin(take_over=True)
    for _ in range(AT_ONCE):
        error(shown.client.post("sessions", json={"code": "wrong"}), 401, "invalid_code")
    waits = shown.client.post("sessions", json={"code": shown.codes["jane"]})
    assert "try again in 6 s" in error(waits, 429, "too_many_codes") and waits.headers["retry-after"] == "6"
    now += 6.1
    assert shown.begin(take_over=True), "a right code, once it was waited"


def test_a_code_of_another_study_is_none_of_this_one(shown: Shown) -> None:
    other = shown.book.register.add("study-ffffffffffffffff", ["jane"])["jane"]
    error(shown.client.post("sessions", json={"code": other}), 401, "invalid_code")
    error(shown.client.get("../none"), 404, "unknown_study")
    error(shown.client.post("../none/sessions", json={"code": other}), 404, "unknown_study")


def test_a_code_used_twice_at_once_is_asked_about_and_no_answer_is_lost_or_mixed(shown: Shown) -> None:
    first, joe = shown.begin(), shown.begin("joe")
    shown.put(first, 1)
    asked = shown.client.post("sessions", json={"code": shown.codes["jane"]})
    assert "another browser, which was last heard of less than a minute ago" in error(asked, 409, "code_in_use")
    assert shown.put(first, 2).status_code == 200, "until then the first goes on"
    second = shown.begin(take_over=True)
    told = error(shown.put(first, 3), 401, "session_ended")
    assert "now in use in another browser, and this one was ended" in told
    for path in ("reading", "images/1"):
        error(shown.client.get(path, headers=first), 401, "session_ended")
    assert [answer["place"] for answer in shown.reading(second)["answers"]] == [1, 2]
    assert shown.reading(joe)["answers"] == []


def test_a_lost_response_and_a_reload_count_once_and_stale_answers_are_told(shown: Shown) -> None:
    jane = shown.begin()
    assert [shown.put(jane, 4).json()["revision"] for _ in range(2)] == [1, 1]
    changed = {"said": {"entity": "bcc", "origin": "AI"}, "sent_as": "another-sending"}
    assert "it is kept, look at it" in error(shown.put(jane, 4, **changed), 409, "newer_answer")
    assert shown.put(jane, 4, replaces=1, **changed).json() == {"revision": 2}
    assert [answer["said"]["entity"] for answer in shown.reading(jane)["answers"]] == ["bcc"]


@pytest.mark.parametrize(
    ("place", "changes", "status", "code", "words"),
    [
        (15, {}, 404, "unknown_image", "not in this study, which has 14"),
        (0, {}, 400, "invalid_value", "greater than or equal to 1"),
        ("001.png", {}, 400, "invalid_value", "integer"),
        (1, {"said": {"entity": "wart"}}, 400, "no_answer", "expected one of akiec, bcc"),
        (1, {"said": {"entity": 3}}, 400, "no_answer", "entity=3: no answer"),
        (1, {"said": {"entity": ["mel"]}}, 400, "no_answer", "no answer"),
        (1, {"said": {"origin": "ai"}}, 400, "no_answer", "expected one of original, AI"),
        (1, {"said": {"truth": "AI"}}, 400, "no_answer", "not asked; expected entity"),
        (1, {"said": {"entity_confidence": 101}}, 400, "no_answer", "entity_confidence=101: expected a whole number"),
        (1, {"said": {"entity_confidence": -1}}, 400, "no_answer", "from 0 (a guess) to 100"),
        (1, {"said": {"entity_confidence": 50.5}}, 400, "no_answer", "whole number"),
        (1, {"said": {"entity_confidence": True}}, 400, "no_answer", "whole number"),
        (1, {"said": {"entity_confidence": "50"}}, 400, "no_answer", "whole number"),
        (1, {"said": "mel"}, 400, "invalid_value", "said"),
        (1, {"replaces": -1}, 400, "invalid_value", "replaces"),
        (1, {"sent_as": "x"}, 400, "invalid_value", "sent_as"),
        (1, {"seconds": -1}, 400, "invalid_value", "seconds"),
        (1, {"reader": "joe"}, 400, "invalid_value", "reader"),
        (1, {"said": {"entity": "m" * 20_000}}, 413, "too_large", "16384 bytes"),
    ],
)
def test_what_is_no_answer_is_refused_and_not_kept(
    shown: Shown, place: Any, changes: dict[str, Any], status: int, code: str, words: str
) -> None:
    jane = shown.begin()
    assert words in error(shown.put(jane, place, **changes), status, code)
    assert shown.reading(jane)["answers"] == []


def test_who_has_no_key_sends_little_whatever_the_headers_say(shown: Shown) -> None:
    parts = (b" " * 4096 for _ in range(5))  # chunked, without a length
    answer = shown.client.post("sessions", content=parts, headers={"Content-Type": "application/json"})
    assert "16384 bytes" in error(answer, 413, "too_large")


def test_nothing_is_answered_after_finishing(shown: Shown) -> None:
    jane = shown.begin()
    shown.put(jane, 1)
    refused = shown.client.post("finish", json={"answered": 14}, headers=jane)
    assert "1 images are answered, which is not what this page shows" in error(refused, 409, "miscounted")
    for _ in range(2):
        assert shown.client.post("finish", json={"answered": 1}, headers=jane).status_code == 204
    assert "cannot be changed any more" in error(shown.put(jane, 2), 409, "finished")
    assert shown.reading(shown.begin(take_over=True))["finished"]


def test_without_a_session_there_is_nothing(shown: Shown) -> None:
    asked = [("GET", "reading"), ("GET", "images/1"), ("DELETE", "sessions")]
    for method, path in asked:
        error(shown.client.request(method, path), 401, "session_missing")
    error(shown.put({}, 1), 401, "session_missing")
    error(shown.put({"Authorization": "Bearer none"}, 1), 401, "session_ended")
    jane = shown.begin()
    assert shown.client.delete("sessions", headers=jane).status_code == 204
    assert "you have logged out" in error(shown.put(jane, 1), 401, "session_ended")


def test_an_unreachable_store_is_told_and_loses_nothing(
    shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "SECONDS_FOR_A_LOCK", 0)
    shown.service.desk.ledger.engine.dispose()  # the next connection waits for no lock
    jane = shown.begin()
    shown.put(jane, 1)
    with sqlite3.connect(tmp_path / "below" / "jobs.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = shown.put(jane, 2)
        assert "what was saved before is kept, and this was not saved" in error(answer, 503, "answers_unavailable")
        assert answer.headers["retry-after"] == "5" and str(tmp_path) not in answer.text
        other.execute("ROLLBACK")
    assert shown.put(jane, 2).json() == {"revision": 1}
    assert [answer["place"] for answer in shown.reading(jane)["answers"]] == [1, 2]


def test_a_store_that_comes_later_is_found(shown_study: Path, tmp_path: Path, keys: Any) -> None:
    from fastapi.testclient import TestClient

    (tmp_path / "away").write_text("no directory")
    service = Service(study_config(shown_study, f"sqlite:///{tmp_path}/away/jobs.db"))
    client = TestClient(api_of(service, keys))
    path = "/v1/reader-studies/skin/sessions"
    error(client.post(path, json={"code": "x"}), 503, "answers_unavailable")
    (tmp_path / "away").unlink()
    error(client.post(path, json={"code": "x"}), 401, "invalid_code")


def test_a_study_that_was_moved_is_told_and_answers_stay(shown: Shown, shown_study: Path) -> None:
    jane = shown.begin()
    shown.put(jane, 1)
    shutil.move(shown_study, shown_study.with_name("elsewhere"))
    answer = shown.client.get("images/2", headers=jane)
    assert "answers that were saved are kept" in error(answer, 503, "study_unavailable")
    assert str(shown_study) not in answer.text
    assert shown.put(jane, 2).status_code == 200, "who saw an image can still answer"
    shutil.move(shown_study.with_name("elsewhere"), shown_study)
    assert shown.client.get("images/2", headers=jane).status_code == 200
    assert len(shown.reading(jane)["answers"]) == 2


def test_two_browsers_that_begin_at_once_leave_one_session(shown: Shown) -> None:
    answers = []

    def begin() -> None:
        answers.append(shown.client.post("sessions", json={"code": shown.codes["jane"]}).status_code)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, 409, 409, 409]
    with shown.service.desk.ledger.engine.connect() as connection:
        assert connection.execute(text("select count(*) from dermray_reader_sessions")).scalar() == 1
