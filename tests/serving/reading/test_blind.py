"""Nothing that a reader is sent, or could look at, goes with what an image is."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from dermray import storage
from dermray.manifest import Result
from dermray.reader_study import key
from tests.serving.reading.conftest import Shown

VARYING = {"x-request-id", "date"}  # random and time


def everything(shown: Shown) -> list[tuple[str, Any]]:
    """All answers of a whole reading, by path."""
    jane, found = shown.begin(), []
    paths = ["", "reading", *(f"images/{place}" for place in range(1, 15))]
    for path in paths:
        found.append((path, shown.client.get(path, headers=jane)))
    for place in range(1, 15):
        found.append((f"reading/{place}", shown.put(jane, place)))
    found.append(("reading", shown.client.get("reading", headers=jane)))
    return found


def test_answers_about_images_differ_in_nothing_but_pixels(shown: Shown) -> None:
    answers = everything(shown)
    images = [answer for path, answer in answers if path.startswith("images/")]
    headers = {
        tuple((name, value) for name, value in answer.headers.items() if name not in VARYING) for answer in images
    }
    assert len(images) == 14 and len(headers) == 1, "all have the same names and values, in the same order"
    names = {name for name, _ in next(iter(headers))}
    assert not names & {"etag", "last-modified", "expires", "age", "content-disposition"}
    assert dict(next(iter(headers)))["cache-control"] == "no-store, no-transform"
    assert len({len(answer.content) for answer in images}) == 1
    kept = [answer for path, answer in answers if path.startswith("reading/")]
    assert {answer.text for answer in kept} == {'{"revision":1}'}
    assert len({len(answer.headers["content-length"]) for answer in kept}) == 1


def test_a_cache_is_never_asked(shown: Shown) -> None:
    jane = shown.begin()
    conditions = {"If-Modified-Since": "Tue, 01 Jan 2030 00:00:00 GMT", "If-None-Match": "*", "Range": "bytes=0-9"}
    whole = shown.client.get("images/1", headers=jane)
    asked = shown.client.get("images/1", headers=jane | conditions)
    assert asked.status_code == 200 and asked.content == whole.content


def test_no_text_holds_a_name_a_hash_or_a_truth_of_an_image(shown: Shown, built_study: Result) -> None:
    secrets = key.opened(built_study)[0]
    words = {word for one in secrets.images for word in (one.image, one.sha256, one.sample_id, one.group, one.source)}
    words |= {secrets.nonce, "sealed", "sample_id", "truth", "leak_group"}
    for path, answer in everything(shown):
        text = answer.text if "image/png" not in answer.headers["content-type"] else ""
        assert not [word for word in words if word and word in text], path
        assert not re.search(r"[0-9]{3}\.png", text), path
    told = shown.reading(shown.begin(take_over=True))
    # the words of the questions are the same for all images, and stand nowhere else
    told.pop("questions")
    told.pop("answers")
    assert not re.search("original|AI|mel|bcc", json.dumps(told))


def test_pngs_hold_pixels_alone(shown: Shown) -> None:
    jane = shown.begin()
    for place in range(1, 15):
        png = shown.client.get(f"images/{place}", headers=jane).content
        kinds, at = [], 8
        while at < len(png):
            length = int.from_bytes(png[at : at + 4])
            kinds.append(png[at + 4 : at + 8])
            at += 12 + length
        assert kinds[0] == b"IHDR" and kinds[-1] == b"IEND" and set(kinds[1:-1]) == {b"IDAT"}


def test_the_order_is_by_chance(shown: Shown, built_study: Result) -> None:
    """Over many readers an AI image stands first as often as an original does, and places are not of the key."""
    truth = {one.image: one.origin for one in key.opened(built_study)[0].images}
    firsts = [truth[shown.study.order(f"{seed:032x}")[0]] for seed in range(2000)]
    assert 0.46 < firsts.count("AI") / 2000 < 0.54  # 3.5 standard deviations
    images = [shown.study.order(f"{seed:032x}").index(shown.study.images[0]) for seed in range(2000)]
    assert all(100 < images.count(place) < 190 for place in range(14))  # 143 expected


def test_the_key_is_never_opened(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(Path(shown.study.place).parent.glob("sealed*")), "the service has none, and works"
    read: list[str] = []
    before = storage.read_bytes

    def noted(uri: str) -> bytes:
        read.append(uri)
        return before(uri)

    monkeypatch.setattr(storage, "read_bytes", noted)
    shown.service.room._studies.clear()
    everything(shown)
    assert read and not [uri for uri in read if "sealed" in uri]
    assert {os.path.relpath(uri, shown.study.place).partition("/")[0] for uri in read} <= {"images", "study.json", ".."}
    manifests = [uri for uri in read if "images" not in uri and not uri.endswith("study.json")]
    assert {uri.rpartition("/")[2] for uri in manifests} == {"manifest.json"}
