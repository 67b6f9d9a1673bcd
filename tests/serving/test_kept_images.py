from pathlib import Path

import numpy as np
import pytest

from dermray.provenance import text
from dermray.serving.drawing.store import Store, StoreFull
from tests.serving.models import text_of


def test_images_are_found_by_their_names_alone(place: str) -> None:
    store = Store(f"{place}/images")
    first, second = store.keep([b"one", b"two"])
    assert (store.find(first), store.find(second)) == (b"one", b"two")
    assert first != second and len(first.partition("-")[2]) >= 32
    guessed = "../secret", first[:-5] + "x.png", "", first.upper(), f"../images/{first}", first + "/"
    assert [store.find(name) for name in guessed] == [None] * 6


def test_expired_images_go(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    store, now = Store(f"{place}/images", seconds=3600, max_bytes=10), time.time()
    name = store.keep([b"12345678"])[0]
    with pytest.raises(StoreFull, match="8 of 10 bytes"):
        store.keep([b"123"])
    assert store.find(name) == b"12345678"
    monkeypatch.setattr(time, "time", lambda: now + 3602)
    assert store.find(name) is None
    new = store.keep([b"abc"])[0]
    monkeypatch.setattr(time, "time", lambda: now)
    assert store.find(new) == b"abc" and store.find(name) is None, "deleted"


def test_other_files_of_the_directory_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"x" * 100)
    Store(str(tmp_path), max_bytes=10).keep([b"1"])
    assert (tmp_path / "mine.png").exists()


def test_provenance_of_any_script_is_read_back() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    said = {"prompt": "меланома 黑色素瘤", "seed": "9007199254740991", "origin": "synthetic"}
    image = text.png(pixels, said)
    assert text_of(image) == said and text.png(pixels, said) == image
