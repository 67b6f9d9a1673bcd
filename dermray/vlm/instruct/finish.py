"""After the engine: every row, answered or not, becomes a row of one schema, its pairs judged one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from dermray.captioning.prompts import prompt_hash
from dermray.counters import count_rows
from dermray.records import INSTRUCTED, conform
from dermray.vlm.instruct import prompt
from dermray.vlm.instruct.answers import Said, read
from dermray.vlm.instruct.context import context
from dermray.vlm.instruct.filters import judge, repeats
from dermray.vlm.instruct.questions import Question, questions

Pair = dict[str, Any]  # of records.INSTRUCTION_PAIR


class Finish:
    """Reads answers, judges each pair, and the row by its pairs.

    Args:
        columns: metadata that the model was told. constants: see `captioning.asking.constants`.
    """

    def __init__(
        self,
        columns: Sequence[str],
        near_duplicate: float,
        most_characters: int | None,
        constants: Mapping[str, str | None],
    ) -> None:
        self.columns, self.near_duplicate, self.most_characters = tuple(columns), near_duplicate, most_characters
        self.constants = {**constants, "prompt_set": f"{prompt.NAME}@{prompt.version()}"}

    def __call__(self, table: pa.Table) -> pa.Table:
        """A table of exactly `records.INSTRUCTED`."""
        rows = conform([self.row(row) for row in table.to_pylist()], INSTRUCTED)
        count_rows("instruct", rows)
        return rows

    def row(self, raw: dict[str, Any]) -> dict[str, Any]:
        """One row with its pairs."""
        row = {name: raw.get(name) for name in INSTRUCTED.names} | self.constants
        row |= {"pairs": None, "answer": None, "prompt_hash": prompt_hash(raw["question"])}
        row["attempts"] = (raw.get("attempts") or 0) + (raw.get("requests") or 0)
        if raw["unreadable"]:
            return row | {"status": "rejected", "reason": raw["unreadable"]}
        if error := raw.get("engine_error"):
            return row | {"status": "failed", "reason": f"engine: {error[:200]}"}
        text, asked = (raw["text"] or "").strip(), questions(raw)
        said = read(text, raw.get("finish_reason"), [question.kind for question in asked], self.most_characters)
        pairs = judged(raw, asked, said, context(raw, self.columns), self.near_duplicate)
        return row | {"answer": text, "pairs": pairs} | row_status(pairs)


def judged(
    row: dict[str, Any],
    asked: Sequence[Question],
    said: Mapping[str, Said],
    known: dict[str, str],
    near_duplicate: float,
    earlier: Sequence[str] = (),
) -> list[Pair]:
    """One pair a question, with status and reason.

    Args:
        said: by the questions' kinds. earlier: answers of the same image that are kept already.
    """
    pairs, kept = list[Pair](), list(earlier)
    for question in asked:
        answer, reason = said[question.kind]
        if reason is None and answer is not None:
            reason = judge(answer, row, known) or repeats(answer, kept, near_duplicate)
            if reason is None:
                kept.append(answer)
        pairs.append(
            {
                "question": question.text,
                "answer": answer,
                "kind": question.kind,
                "status": "rejected" if reason else "ok",
                "reason": reason,
            }
        )
    return pairs


def row_status(pairs: Sequence[Pair]) -> dict[str, str | None]:
    """A row is ok where one of its pairs is."""
    if any(pair["status"] == "ok" for pair in pairs):
        return {"status": "ok", "reason": None}
    reasons = sorted({pair["reason"] for pair in pairs})
    return {"status": "rejected", "reason": f"no usable pair: {'; '.join(reasons)}"}
