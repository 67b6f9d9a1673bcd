"""After the engine: every answer is read and scored by itself, with a status and a reason.

An answer that cannot be used (a refusal, cut off, empty) is a wrong one: its scores are 0. Where the engine failed
there is no answer, and no score.
"""

from collections.abc import Mapping
from dataclasses import asdict

import pyarrow as pa

from dermray.captioning.accuracy import SAID
from dermray.captioning.audit.mentions import RULES, compare, names_the_diagnosis, said_in
from dermray.captioning.reading import parse
from dermray.captioning.unusable import unusable
from dermray.counters import count_rows
from dermray.records import conform
from dermray.vlm.vqa import texts
from dermray.vlm.vqa.questions import DESCRIPTION, QUESTIONS, Row, said_entities, said_malignant
from dermray.vlm.vqa.rows import ANSWERS
from dermray.vlm.vqa.squad import exact_match, token_f1

UNSEEN = ("age", "sex")  # of a person; no close-up of a lesion shows them, so an answer that states them made them up
DIAGNOSTIC = ("malignant", "diagnosis")  # questions that ask for what else would be a leak


class Finish:
    """Reads and scores answers.

    Args:
        constants: columns that are the same for all rows: captioner, captioner_model, captioner_revision, sampling.
    """

    def __init__(self, constants: Mapping[str, str | None]) -> None:
        self.constants = dict(constants)

    def __call__(self, table: pa.Table) -> pa.Table:
        """A table of exactly `rows.ANSWERS`."""
        rows = conform([self.row(row) for row in table.to_pylist()], ANSWERS)
        count_rows("vqa", rows)
        return rows

    def row(self, raw: Row) -> Row:
        """One answer."""
        row = {name: raw.get(name) for name in ANSWERS.names} | self.constants
        row["attempts"] = raw.get("requests") or 0
        if raw["unreadable"]:
            return row | {"status": "failed", "reason": raw["unreadable"]}
        if error := raw.get("engine_error"):
            return row | {"status": "failed", "reason": f"engine: {error[:200]}"}
        text = (raw["text"] or "").strip()
        reason = unusable(text, raw.get("finish_reason"))
        status = {"status": "rejected" if reason else "ok", "reason": reason, "answer": text}
        about = {} if reason else metadata_stated(row, text)
        return row | status | scores(row, "" if reason else text) | about


def scores(row: Row, text: str) -> Row:
    """How right a text is as the answer to a row's question; an empty one is wrong."""
    if row["question_id"] in QUESTIONS:
        said = QUESTIONS[row["question_id"]].read(text)
        right = {"said": said, "correct": said == row["truth"]}
        return right | {"exact": exact_match(text, row["truth"]), "f1": token_f1(text, row["truth"])}
    if row["question_id"] == DESCRIPTION:
        return attributes_right(row, text)
    return {"bleu_counts": texts.bleu_counts(text, row["reference"])} | texts.rouge(text, row["reference"])


def attributes_right(row: Row, text: str) -> Row:
    """Of each attribute with a truth, whether a description says what is so; silence is wrong."""
    said = {f"said_{name}": value for name, value in asdict(parse(text).attributes).items()}
    said["said_colours"] = list(said["said_colours"])
    estimated = row.get("skin_tone_source") != "metadata"
    found = {}
    for name, (column, truth) in SAID.items():
        known = row.get(truth) is not None and not (name == "skin_tone" and estimated)
        found[f"{name}_right"] = said[column] == row[truth] if known else None
    return found


def metadata_stated(row: Row, text: str) -> Row:
    """What an answer states that no image shows, or that the row's metadata contradict; and whether it names a
    diagnosis unasked. What a question asks for is never counted against its answer."""
    asked = row["question_id"]
    spoken, verdicts = said_in(text), compare(text, row)
    wrong = [name for name in UNSEEN if RULES[name].said(spoken)]
    wrong += [name for name, agrees in verdicts.items() if agrees is False and name not in (*UNSEEN, asked)]
    if asked not in DIAGNOSTIC and _contradicts_diagnosis(row, text):
        wrong.append("diagnosis")
    named = None if asked in DIAGNOSTIC else names_the_diagnosis(text, row)
    return {"hallucinated": wrong, "names_a_diagnosis": named}


def _contradicts_diagnosis(row: Row, text: str) -> bool:
    entities, malignant = said_entities(text), said_malignant(text)
    other = bool(entities) and row.get("entity") not in (None, "other") and row["entity"] not in entities
    return other or (malignant is not None and row.get("malignant") not in (None, malignant))


def named_attributes() -> list[str]:
    """All that can stand in `hallucinated`."""
    return [*UNSEEN, *(name for name in RULES if name not in UNSEEN), "diagnosis"]
