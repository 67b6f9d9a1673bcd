"""After the engine: every row, answered or not, becomes a row of one schema with a status and a reason."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dermray.captioning import prompts
from dermray.captioning.answers import Answer, Attributes
from dermray.captioning.compose import compose
from dermray.captioning.reading.refusals import refuses
from dermray.captioning.unusable import quotes, unusable
from dermray.counters import count_rows
from dermray.records import CAPTIONED, conform


class Finish:
    """Reads answers, judges them, writes captions.

    Args:
        constants: columns that are the same for all rows: captioner, captioner_revision, sampling.
    """

    def __init__(self, prompt_set: str, metadata: tuple[str, ...], constants: Mapping[str, str | None]) -> None:
        self.name, self.metadata = prompt_set, metadata
        self.constants = {**constants, "prompt_set": f"{prompt_set}@{prompts.version(prompt_set)}"}

    def __call__(self, table: pa.Table) -> pa.Table:
        """A table of exactly `records.CAPTIONED`."""
        rows = conform([self.row(row) for row in table.to_pylist()], CAPTIONED)
        count_rows("caption", rows)
        return rows

    def row(self, raw: dict[str, Any]) -> dict[str, Any]:
        """One captioned row."""
        row = {name: raw.get(name) for name in CAPTIONED.names} | self.constants
        row["prompt_hash"] = prompts.prompt_hash(raw["question"])
        row["attempts"] = (raw.get("attempts") or 0) + (raw.get("requests") or 0)
        if raw["unreadable"]:
            return row | {"status": "rejected", "reason": raw["unreadable"]}
        if error := raw.get("engine_error"):
            return row | {"status": "failed", "reason": f"engine: {error[:200]}"}
        return row | self._read(raw)

    def _read(self, raw: dict[str, Any]) -> dict[str, Any]:
        words, text = prompts.prompt_set(self.name), (raw["text"] or "").strip()
        said = {"answer": text, "status": "rejected"}
        if reason := unusable(text, raw.get("finish_reason")):
            return said | {"reason": reason}
        try:
            answer = words.read(text)
        except ValueError as error:
            return said | {"reason": str(error)}
        if words.schema and any(refuses(part) for part in _answered(answer)):
            return said | {"reason": "refusal"}
        if words.internal_context and quotes(text, prompts.known(raw)):
            return said | {"reason": "quotes the internal context"}
        if words.needs_attributes and answer.attributes == Attributes():
            return said | {"reason": "no ABC attribute in the answer"}
        attributes = answer.attributes
        return {
            "status": "ok",
            "reason": None,
            "answer": text,
            "caption": compose(raw, answer, words.sentences, self.metadata),
            "said_asymmetry": attributes.asymmetry,
            "said_border_irregular": attributes.border_irregular,
            "said_colours": list(attributes.colours),
            "said_skin_tone": attributes.skin_tone,
            "said_structures": list(attributes.structures),
            "pairs": [{"question": q, "answer": a} for q, a in answer.pairs] or None,
        }


def _answered(answer: Answer) -> list[str]:
    """What an answer in JSON says in sentences."""
    return [part for part in (answer.text, *(said for _, said in answer.pairs)) if part]
