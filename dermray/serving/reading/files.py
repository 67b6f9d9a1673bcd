"""A reader's answers as files: the form that `reader-study analyse` reads, and what happened when."""

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from dermray.reader_study.form import IMAGE, STUDY
from dermray.serving.reading.book import Answer
from dermray.serving.reading.study import Study


def as_form(study: Study, answers: Mapping[str, Answer]) -> bytes:
    """A line an image in the study's order, with empty cells where nothing was answered."""
    lines = []
    for image in study.images:
        said = answers[image].said if image in answers else {}
        lines.append({STUDY: study.id, IMAGE: image} | said)
    return _csv(study.about.columns, lines)


def as_log(study: Study, history: Iterable[Answer]) -> bytes:
    """A line a revision: when it came, where the image stood in this reader's order, and how long it was looked at."""
    about = ["answered", "place", IMAGE, "revision", "seconds"]
    lines = [
        {
            "answered": datetime.fromtimestamp(one.answered, UTC).isoformat(timespec="milliseconds"),
            "place": str(one.place), IMAGE: one.image, "revision": str(one.revision),
            "seconds": "" if one.seconds is None else f"{one.seconds:.1f}",
        } | one.said
        for one in history
    ]  # fmt: skip
    return _csv([*about, *(name for name in study.about.columns if name not in (STUDY, IMAGE))], lines)


def _csv(columns: list[str], lines: Iterable[Mapping[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns)
    table.writeheader()
    table.writerows(lines)
    return text.getvalue().encode("utf-8-sig")  # Excel needs the mark to know it by
