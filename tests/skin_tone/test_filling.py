from typing import Any

import pytest
from PIL import Image

from dermray.skin_tone.estimate import Estimate
from dermray.skin_tone.filling import AS_TOLD, NOT_ESTIMATED, Filling

IMAGE = Image.new("RGB", (8, 8))


def says_c(image: Image.Image) -> Estimate:
    assert image is IMAGE
    return Estimate("C")


def test_what_metadata_lack_is_estimated_and_told_apart() -> None:
    row: dict[str, Any] = {"source_id": "a", "skin_tone": None, "fitzpatrick": None}
    assert Filling(says_c)(row, IMAGE) == {"skin_tone": "C", "skin_tone_source": "estimated"}
    assert Filling(says_c)({"source_id": "a"}, IMAGE)["skin_tone"] == "C", "sources may leave columns out"


def test_what_metadata_say_stays() -> None:
    assert Filling(says_c)({"source_id": "a", "skin_tone": "A", "skin_tone_source": "metadata"}, IMAGE) == {}


def test_by_default_nothing_is_estimated() -> None:
    assert AS_TOLD({"source_id": "a", "skin_tone": None}, IMAGE) == {}


@pytest.mark.parametrize("before", [None, [], ["age: strange @ t.csv line 2"]])
def test_why_there_is_none_is_noted_beside_other_issues(before: list[str] | None) -> None:
    row = {"source_id": "a.png", "skin_tone": None, "cell_issues": before}
    told = Filling(lambda _: Estimate(None, "too dark"))(row, IMAGE)
    assert told == {"cell_issues": [*(before or []), f"{NOT_ESTIMATED}: too dark @ a.png"]}
    assert row["cell_issues"] is before, "the row that was given is not changed"
