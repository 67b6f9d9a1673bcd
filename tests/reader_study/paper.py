"""Answers with which paper 000's dermatologist would have got the numbers that the paper reports (section 3.2)."""

import numpy as np

from dermray.reader_study.key import Shown
from dermray.records import ENTITIES

# of 10 images of each kind: how many were named rightly. 62 of 70 AI images (89%), 28 of 70 originals (40%), 90 of 140
# (64%); class 7 (vasc) has a recall of 0.90, class 2 (nv) 0.50, class 4 (bkl) 0.85
RIGHT = {
    "akiec": (9, 2), "bcc": (9, 2), "bkl": (10, 7), "df": (7, 5), "mel": (9, 2), "nv": (8, 2), "vasc": (10, 8),
}  # fmt: skip
# so often each name was given in all: vasc 22 times (precision 18 / 22 = 0.82), nv 16 (0.62), bkl 37 (0.46)
CALLED = {"akiec": 16, "bcc": 16, "bkl": 37, "df": 17, "mel": 16, "nv": 16, "vasc": 22}
RECOGNISED = {"AI": 69, "original": 66}  # of 70 each: recalls 0.99 and 0.94, precisions 0.95 and 0.99


def entities(shown: list[Shown]) -> list[str]:
    """The answers to the first question."""
    said: list[str | None] = []
    seen: dict[tuple[str, str], int] = {}
    for image in shown:
        cell = image.truth, image.origin
        seen[cell] = seen.get(cell, 0) + 1
        said.append(image.truth if seen[cell] <= RIGHT[image.truth][image.origin == "original"] else None)
    wrong = [place for place, word in enumerate(said) if word is None]
    left = [name for name in ENTITIES for _ in range(CALLED[name] - sum(RIGHT[name]))]
    wrong.sort(key=lambda place: shown[place].truth)
    for turn in range(len(left)):  # the same names, moved on until none is right by accident
        names = np.roll(left, turn).tolist()
        if all(name != shown[place].truth for place, name in zip(wrong, names, strict=True)):
            for place, name in zip(wrong, names, strict=True):
                said[place] = name
            return [str(word) for word in said]
    raise AssertionError("no such answers")


def origins(shown: list[Shown]) -> list[str]:
    """The answers to the second question."""
    seen = {"AI": 0, "original": 0}
    said = []
    for image in shown:
        seen[image.origin] += 1
        other = "original" if image.origin == "AI" else "AI"
        said.append(image.origin if seen[image.origin] <= RECOGNISED[image.origin] else other)
    return said
