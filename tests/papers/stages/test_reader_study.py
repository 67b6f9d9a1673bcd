"""Answers that would have given paper 000's numbers give them, whatever is read out of them."""

import numpy as np
import pytest

from dermray.manifest import Result
from dermray.papers.comparison import Row, compare
from dermray.papers.ours import measured
from dermray.papers.published import read
from dermray.reader_study.analysis import Truth, analyse
from dermray.reader_study.answers import Answer, Reader
from dermray.reader_study.key import Key, Shown
from dermray.reader_study.questions import Question, questions
from dermray.reader_study.settings import AnalyseConfig
from dermray.records import ENTITIES
from tests.papers.results import finished, lineage
from tests.reader_study import paper


def answer(question: Question, words: list[str]) -> Answer:
    said = np.array([question.classes.index(word) for word in words])
    return Answer(question, said, np.full(len(said), np.nan))


def shown(truth: str, origin: str) -> Shown:
    return Shown(image="", sha256="", truth=truth, origin=origin, sample_id="", group=None, source=None)


def results() -> dict[str, Result]:
    """A study of 140 images, and what a reader said who is right as often as the paper's."""
    images = [shown(entity, origin) for entity in ENTITIES for origin in ("AI", "original") for _ in range(10)]
    asked = questions("entity", ENTITIES)
    truth = Truth.of(Key(column="entity", classes=list(ENTITIES), images=images), asked)
    said = answer(asked[0], paper.entities(images)), answer(asked[1], paper.origins(images))
    told = analyse(truth, [Reader("ada", said)], [], AnalyseConfig(output="o", study="s", answers=["a"], resamples=100))
    each = {"originals_per_class": 10, "synthetic_per_class": 10, "side": 256}
    return {
        "build": finished("reader-study build", "b", {"rows": "c", "synthetic": "g"}, 140, each),
        "analyse": finished("reader-study analyse", "a", {"study": "b"}, **told),
    }


@pytest.fixture(scope="module")
def study() -> dict[str, Result]:
    return results()


@pytest.fixture(scope="module")
def rows(study: dict[str, Result]) -> list[Row]:
    """Beside the paper's, where the ingest result is not at hand."""
    behind = {name: result for name, result in lineage().items() if name != "ingest"}
    return compare(read("glide_ham10000"), measured(behind | study), "paper")


# These follow from the answers for certain: recalls and precisions were reconstructed, averages over classes are not
# told by enough numbers for that.
FREE = ("macro F1", "weighted F1")


def test_the_papers_numbers_come_out(rows: list[Row]) -> None:
    asked = [row for row in rows if row.cell.ours.get("stage") == "reader-study analyse" and row.cell.printed
             and not (row.cell.table.endswith("entities") and row.cell.labels["measure"] in FREE)]  # fmt: skip
    assert len(asked) == 7 + 3 + 8
    for row in asked:
        assert row.ours is not None and row.ours.value is not None and row.cell.value is not None, row.cell.key
        assert abs(row.ours.value - row.cell.value) <= row.cell.rounding + 1e-9, row.cell.key  # type: ignore[operator]


def test_what_a_reader_said_has_its_images_interval_and_floor(rows: list[Row]) -> None:
    by_key = {row.cell.key: row for row in rows}
    share = by_key["section 3.2, entities", "images: AI", "measure: accuracy"].ours
    assert share is not None and share.setting.images == 70 and share.floor == pytest.approx(1 / 7)
    assert share.low is not None and share.high is not None and share.low < 0.886 < share.high
    area = by_key["Figure 2", "question: AI or original"].ours
    assert area is not None and area.floor == 0.5 and area.value == pytest.approx((69 + 66) / 140)
    assert by_key["section 2.3", "images: synthetic"].ours.value == 70  # type: ignore[union-attr]  # it is there


def test_they_are_comparable_once_it_is_known_whose_images_were_shown(
    rows: list[Row], study: dict[str, Result]
) -> None:
    told = [row for row in rows if row.ours is not None and row.cell.printed and "reader" in row.ours.where]
    unknown = "nothing tells of which data set our images are; the paper's are of ham10000"
    assert {row.reasons for row in told} == {(unknown,)}
    known = compare(read("glide_ham10000"), measured(lineage() | study), "paper")
    told = [row for row in known if row.ours is not None and row.cell.printed and "reader" in row.ours.where]
    assert told and all(row.comparable for row in told)
    assert {row.inside for row in told if row.cell.labels.get("measure") == "accuracy"} == {True}
