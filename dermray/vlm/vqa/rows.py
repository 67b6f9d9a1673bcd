"""The files of this stage: questions, written before any is asked, answers, and a judge's grades.

Ray Data goes on by ids that stand in the files it reads, so each pass reads a file of what it is to ask.
"""

import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dermray import storage
from dermray.manifest import Result
from dermray.picked import FILE, pick
from dermray.records import IMAGE_COLUMNS, TRUTH_COLUMNS
from dermray.vlm.vqa.questions import DESCRIBE, DESCRIPTION, PAIRS, QUESTIONS, Row
from dermray.vlm.vqa.settings import VqaConfig

STAGES = ("ingest", "caption", "instruct")
KNOWN = ("leak_group", "split", "diagnosis", "entity", "malignant", "modality", "skin_tone", "skin_tone_source", "age",
         "sex", "site")  # fmt: skip
IMAGE = [*((name, kind) for name, kind in IMAGE_COLUMNS if name in KNOWN), *TRUTH_COLUMNS]
QUESTION_COLUMNS = [
    ("answer_id", pa.string()),  # <sample_id>/<question_id>: names the answer, together with who gave it
    ("sample_id", pa.string()),  # of the image
    ("question_id", pa.string()),  # a closed question's name, describe, or pair-<n>
    ("question", pa.string()),
    ("truth", pa.string()),  # the right answer to a closed question
    ("reference", pa.string()),  # the answer of a pair
    ("image_file", pa.string()),  # where the image lay when it was asked about
    *IMAGE,
]
ANSWER_COLUMNS = [
    *QUESTION_COLUMNS,
    ("captioner", pa.string()),  # its name in the config
    ("captioner_model", pa.string()),  # manifest key, hub id or name of the model
    ("captioner_revision", pa.string()),
    ("sampling", pa.string()),  # JSON
    ("answer", pa.string()),
    ("said", pa.string()),  # the possible answer that a closed question got; null: none of them
    ("correct", pa.bool_()),  # said == truth
    ("exact", pa.bool_()),  # SQuAD's exact match
    ("f1", pa.float32()),  # SQuAD's token F1
    ("rouge1", pa.float32()),
    ("rouge2", pa.float32()),
    ("rougeL", pa.float32()),
    ("bleu_counts", pa.list_(pa.int32())),  # see texts.bleu_counts
    ("asymmetry_right", pa.bool_()),  # of describe: what was said against what is so; null where nobody knows
    ("border_right", pa.bool_()),
    ("colours_right", pa.bool_()),
    ("skin_tone_right", pa.bool_()),
    ("hallucinated", pa.list_(pa.string())),  # what it states that no image shows, or that metadata contradict
    ("names_a_diagnosis", pa.bool_()),  # null where that was the question
    ("tokens_in", pa.int32()),
    ("tokens_out", pa.int32()),
    ("finish_reason", pa.string()),
    ("attempts", pa.int32()),
    ("status", pa.string()),
    ("reason", pa.string()),
]
GRADE_COLUMNS = [
    ("answer_id", pa.string()),
    ("captioner", pa.string()),
    ("grade", pa.int8()),  # place in experts.GRADES
    ("why", pa.string()),
    ("tokens_in", pa.int32()),
    ("tokens_out", pa.int32()),
    ("attempts", pa.int32()),
    ("status", pa.string()),
    ("reason", pa.string()),
]
ASKED = pa.schema(QUESTION_COLUMNS)
ANSWERS = pa.schema(ANSWER_COLUMNS)
GRADES = pa.schema(GRADE_COLUMNS)
JUDGED = pa.schema([(name, pa.string()) for name in ("answer_id", "sample_id", "image_file", "captioner", "question")])
ROWS_PER_FILE = 4096


def chosen(source: Result, config: VqaConfig) -> pa.Table:
    """The images that are asked about: at most `config.images` rows, without their bytes.

    Raises:
        ValueError: another stage's result, or no usable row in the split.
    """
    stage = source.manifest.stage
    if stage not in STAGES:
        raise ValueError(f"rows={source.uri}: result of stage {stage!r}, expected one of {', '.join(STAGES)}")
    where = pc.field("status") == "ok"
    if config.split != "all":
        where &= pc.field("split") == config.split
    columns = [*(name for name, _ in IMAGE), *(["pairs"] if stage != "ingest" else [])]
    rows = pick(source.row_files(), columns, where, config.images)
    if not len(rows):
        raise ValueError(f"rows={source.uri}: no usable row in split={config.split}; give another split")
    return rows


def questions_for(rows: pa.Table, config: VqaConfig) -> list[str]:
    """What is asked: what config names, or all that some row can answer.

    Raises:
        ValueError: no row can answer what config asks for, or has the references that it needs.
    """
    answerable = dict.fromkeys((*QUESTIONS, PAIRS), 0)
    for row in _iterate(rows):
        for question in asked_of(row, list(answerable)):
            answerable[question["question_id"] if question["truth"] is not None else PAIRS] += 1
    wanted = config.questions or [*(name for name in answerable if answerable[name]), DESCRIPTION]
    if without := [name for name in wanted if answerable.get(name) == 0]:
        known = [name for name, number in answerable.items() if number]
        raise ValueError(
            f"questions={without}: none of {len(rows)} rows of {config.rows} (split {config.split}) has the truth for "
            f"it; they can answer {', '.join(known) or 'none'}"
        )
    needing = [*(config.text_metrics or ()), *(["judge"] if config.judge else ())]
    if needing and PAIRS not in wanted:
        raise ValueError(
            f"{', '.join(needing)}: needs references, and none of {len(rows)} rows of {config.rows} has "
            "question-answer pairs; give a result of instruct, or of caption with prompt_set=clinical-qa"
        )
    return wanted


def asked_of(row: Row, names: list[str]) -> Iterator[Row]:
    """The questions of one image, those that it has the truth for."""
    for name in names:
        if name in QUESTIONS:
            question = QUESTIONS[name]
            if (truth := question.truth(row)) is not None:
                yield _question(row, name, question.text, truth=truth)
        elif name == DESCRIPTION:
            yield _question(row, name, DESCRIBE)
        else:
            for number, pair in enumerate(_good_pairs(row)):
                yield _question(row, f"pair-{number}", pair["question"], reference=pair["answer"])


def write_questions(rows: pa.Table, names: list[str], target: str) -> int:
    """One row a question, below `target`; how many."""
    return write(target, (question for row in _iterate(rows) for question in asked_of(row, names)), ASKED)


def write(target: str, rows: Iterable[Row], schema: pa.Schema) -> int:
    """Files of some thousand rows, anew, some of which are held at a time; how many rows."""
    storage.delete_tree(target)
    storage.make_directory(target)
    written, left = 0, iter(rows)
    while part := list(islice(left, ROWS_PER_FILE)):
        system, path = storage.filesystem(storage.join(target, f"{uuid.uuid4().hex}.parquet"))
        pq.write_table(pa.Table.from_pylist(part, schema=schema), path, filesystem=system)
        written += len(part)
    return written


def _question(row: Row, name: str, text: str, truth: str | None = None, reference: str | None = None) -> Row:
    known = {column: row.get(column) for column, _ in IMAGE}
    return known | {
        "answer_id": f"{row['sample_id']}/{name}",
        "sample_id": row["sample_id"],
        "question_id": name,
        "question": text,
        "truth": truth,
        "reference": reference,
        "image_file": row[FILE],
    }


def _good_pairs(row: Row) -> list[dict[str, Any]]:
    """Pairs of instruct have a status; those of caption are all good."""
    pairs = [pair for pair in row.get("pairs") or [] if pair.get("status", "ok") == "ok"]
    return [pair for pair in pairs if (pair["question"] or "").strip() and (pair["answer"] or "").strip()]


def _iterate(rows: pa.Table) -> Iterator[Row]:
    for batch in rows.to_batches(max_chunksize=512):
        yield from batch.to_pylist()
