"""The page: numbers, then images with questions, what is right, and each captioner's answers side by side."""

from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from dermray import pages
from dermray.datasets.decode import portable
from dermray.picked import Least, pick, take
from dermray.records import read_columns
from dermray.row_files import RowFiles
from dermray.vlm.vqa import told
from dermray.vlm.vqa.scores import GROUPS, LOWER_IS_BETTER
from dermray.vlm.vqa.settings import VqaConfig

SHOWN = ["answer_id", "sample_id", "question_id", "question", "truth", "reference", "answer", "said", "correct",
         "hallucinated", "status", "reason"]  # fmt: skip


def examples(source: RowFiles, answers: list[str], most: int) -> list[dict[str, Any]]:
    """Images with the least ids: always the same ones, chosen by nobody.

    Returns:
        url, sample_id, and questions, each with the answers in the captioners' order.
    """
    chosen = Least(most)
    ids = read_columns(answers[0], ["sample_id"])
    chosen.add(ids.group_by("sample_id").aggregate([]))
    wanted = pc.field("sample_id").isin(chosen.rows()["sample_id"].combine_chunks())
    said = [{row["answer_id"]: row for row in read_columns(rows, SHOWN, wanted).to_pylist()} for rows in answers]
    images = pick(source, [], (pc.field("status") == "ok") & wanted)
    return [
        {"sample_id": sample, "url": pages.data_url(portable(image, pages.SIDE)), "questions": _asked(sample, said)}
        for sample, image in zip(images["sample_id"].to_pylist(), take(images), strict=True)
    ]


def _asked(sample: str, said: list[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    mine = [row for row in said[0].values() if row["sample_id"] == sample]
    return [
        {"question": row["question"], "right": row["truth"] or row["reference"],
         "answers": [answers[row["answer_id"]] for answers in said]}
        for row in sorted(mine, key=lambda row: row["question_id"])
    ]  # fmt: skip


def page(title: str, result: dict[str, Any], shown: list[dict[str, Any]], names: list[str], config: VqaConfig) -> str:
    """The HTML page; nothing beside it is needed."""
    measures = list(dict.fromkeys(measure for name in names for measure in result["measures"][name]))
    return pages.render(
        Path(__file__).parent / "page.html",
        title=title,
        result=result,
        examples=shown,
        names=names,
        measures=measures,
        attributes=GROUPS,
        split=config.split,
        lower=LOWER_IS_BETTER,
        note=told.NOTE,
        enough=told.ENOUGH,
        kappa=told.kappa,
    )
