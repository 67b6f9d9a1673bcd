"""Endings and positions out of real encoders' bytes."""

import pytest

from dermray.publishing.encoded import encoded
from dermray.publishing.files import Written
from dermray.publishing.wrote import Wrote
from tests.publishing.made import photograph


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("JPEG", "jpg"),
        ("PNG", "png"),
        ("WEBP", "webp"),
        ("TIFF", "tif"),
        ("BMP", "bmp"),
        ("GIF", "gif"),
        ("MPO", "jpg"),
    ],
)
def test_endings(kind: str, ending: str) -> None:
    assert encoded(photograph(1, kind=kind)) == (ending, False)


def test_a_position_is_seen() -> None:
    assert encoded(photograph(1, position=True)).has_position
    assert encoded(photograph(1, kind="PNG", position=True)).has_position
    with pytest.raises(ValueError, match="holds no image"):
        encoded(b"none")


def test_a_note_says_all_again() -> None:
    wrote = Wrote(files=[Written("data/a.tar", 7, "ab")])
    for number in range(3):
        wrote.image(photograph(number, position=number == 1), "train")
    again = Wrote.of_note(wrote.note())
    assert again == wrote and again.positions == 1 and again.endings["jpg"] == 3
    again.merge(wrote)
    assert again.sizes["train"] == 2 * wrote.sizes["train"] > 0 and len(again.files) == 2
