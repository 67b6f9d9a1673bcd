"""A second question round, as Self-Instruct (Wang et al. 2023) and paper 003 have it: the model is shown questions that
were asked, asks new ones that an image can answer, and answers them.

Which questions it is shown is drawn from the image's own id, out of the first round's phrasings and the user's own, not
out of what the round itself brings: so no answer depends on which block came first. What it brings is judged like the
first round's answers, and then, over the whole set, by likeness to questions that were asked before: see `taken`.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, Self

import pyarrow as pa
from pydantic import Field, model_validator

from dermray.captioning.prepare import with_questions
from dermray.captioning.unusable import quotes
from dermray.config import Config
from dermray.picked import FILE
from dermray.records import INSTRUCTION_PAIR, conform
from dermray.vlm.instruct import phrasings, prompt
from dermray.vlm.instruct.answers import Said, read
from dermray.vlm.instruct.context import context
from dermray.vlm.instruct.finish import Pair, judged
from dermray.vlm.instruct.questions import Question, specific
from dermray.vlm.instruct.similarity import Similarity, SimilarityConfig

KIND = "self-instruct"
LONGEST = 300  # characters of a question
TASK = (
    "These questions have been asked about images of skin lesions:\n{seeds}\n"
    "Ask {count} that this image can answer. Each must ask for something else than all of these and than the others, "
    "must stand alone, and must not ask for age, sex or history of the patient. Answer each in one to four sentences, "
    "from what the image shows."
)
FORM = "Answer with one JSON object whose keys are {keys}, each with a string."
CANDIDATES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("file", pa.string()),  # name of the one in which the image's row lies
        ("pairs", pa.list_(INSTRUCTION_PAIR)),
        ("features", pa.list_(pa.binary())),  # of each pair's question; null of those that were rejected already
        ("answer", pa.string()),
        ("tokens_in", pa.int32()),
        ("tokens_out", pa.int32()),
        ("requests", pa.int32()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)


class SelfInstructConfig(Config):
    """How many new questions, out of what, and how different they must be."""

    questions: int = Field(2, ge=1, le=8, description="new questions per image, in one request")
    images: int | None = Field(
        None, ge=1, description="approximate number of images, always the same ones; default: all usable ones"
    )
    most_questions: int = Field(
        20_000, ge=1, description="maximum number of new questions kept in all, in the order of the images' ids"
    )
    shown: int = Field(
        6, ge=1, le=20, description="number of example questions shown to the model, chosen by the image's id"
    )
    seeds: list[str] = Field([], description="questions of your own beside the first round's phrasings")
    similarity: SimilarityConfig = SimilarityConfig()

    @model_validator(mode="after")
    def _seeds_say_something(self) -> Self:
        """Questions in words."""
        if empty := [number for number, text in enumerate(self.seeds) if not text.strip()]:
            raise ValueError(f"seeds {empty} are empty: expected questions")
        return self


def seeds(config: SelfInstructConfig) -> list[str]:
    """All questions that are asked without the model's help; a new one must be unlike each."""
    families = [phrasings.GENERAL, phrasings.EITHER, *phrasings.BY_MODALITY.values(), *phrasings.BY_SOURCE.values()]
    return list(dict.fromkeys([text for family in families for text in family] + config.seeds))


def prompt_of(row: dict[str, Any], columns: Sequence[str], config: SelfInstructConfig) -> str:
    """What is asked about a row in the second round."""
    known = context(row, columns)
    lines = [prompt.INTERNAL, *(f"- {name}: {value}" for name, value in known.items()), ""] if known else []
    shown = "\n".join(f"- {text}" for text in _shown(row, config))
    keys = " and ".join(f'"{key}"' for key in keys_of(config))
    return "\n".join([*lines, TASK.format(seeds=shown, count=config.questions), FORM.format(keys=keys)])


def _shown(row: dict[str, Any], config: SelfInstructConfig) -> list[str]:
    """Those that fit the image, and one's own; equal ids are shown equal ones."""
    fitting = list(dict.fromkeys([*phrasings.GENERAL, *specific(row), *config.seeds]))
    draw = random.Random(f"self-instruct {row.get('sample_id')}")
    return draw.sample(fitting, min(config.shown, len(fitting)))


def keys_of(config: SelfInstructConfig) -> list[str]:
    """Of the answer: each question before its answer, so that it is asked first."""
    return [f"{what} {number}" for number in range(1, config.questions + 1) for what in ("question", "answer")]


def schema(config: SelfInstructConfig, most_characters: int | None, one_sentence: bool) -> dict[str, Any]:
    """As `prompt.schema`; where an answer ends with its first full stop, a question does with its question mark."""
    shape = prompt.schema(keys_of(config), most_characters, one_sentence)
    if one_sentence:
        for key, said in shape["properties"].items():
            if key.startswith("question"):
                shape["properties"][key] = said | {"pattern": said["pattern"].removesuffix(r"\.$") + r"\?$"}
    return shape


def version(config: SelfInstructConfig) -> str:
    """Twelve hex digits that change with any word of the prompt or of the seeds."""
    text = json.dumps([TASK, FORM, KIND, LONGEST, seeds(config), prompt.version()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Prepare:
    """Adds the columns of `captioning.prepare.ASKED` to a table of rows of the first round."""

    def __init__(self, columns: Sequence[str], config: SelfInstructConfig, image_side: int) -> None:
        self.columns, self.config, self.image_side = tuple(columns), config, image_side

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with these columns."""
        return with_questions(table, lambda row: prompt_of(row, self.columns, self.config), self.image_side)


class Finish:
    """Reads the new questions and answers and judges each pair by itself; of those that stand, `features` are taken.

    Args:
        near_duplicate, most_characters: as of the first round.
    """

    def __init__(
        self,
        columns: Sequence[str],
        config: SelfInstructConfig,
        near_duplicate: float,
        most_characters: int | None,
        measure: Similarity,
    ) -> None:
        self.columns, self.config, self.measure = tuple(columns), config, measure
        self.near_duplicate, self.most_characters = near_duplicate, most_characters

    def __call__(self, table: pa.Table) -> pa.Table:
        """A table of exactly CANDIDATES."""
        return conform([self.row(row) for row in table.to_pylist()], CANDIDATES)

    def row(self, raw: dict[str, Any]) -> dict[str, Any]:
        """What a row's second round brought."""
        pairs = self.pairs(raw)
        ok = [pair["question"] for pair in pairs if pair["status"] == "ok"]
        found = iter(self.measure.features(ok))
        told = {name: raw.get(name) for name in ("sample_id", "tokens_in", "tokens_out", "requests")}
        told["file"] = raw[FILE].rpartition("/")[2]
        status = {"status": "ok", "reason": None} if ok else {"status": "rejected", "reason": pairs[0]["reason"]}
        features = [next(found) if pair["status"] == "ok" else None for pair in pairs]
        return told | {"pairs": pairs, "features": features, "answer": (raw.get("text") or "").strip()} | status

    def pairs(self, raw: dict[str, Any]) -> list[Pair]:
        """One for each question that was to be asked, whatever became of it."""
        if reason := raw["unreadable"] or (raw.get("engine_error") and f"engine: {raw['engine_error'][:200]}"):
            return [_pair(None, None, reason)] * self.config.questions
        said = read((raw["text"] or "").strip(), raw.get("finish_reason"), keys_of(self.config), self.most_characters)
        known = context(raw, self.columns)
        kept = [pair["answer"] for pair in raw["pairs"] or () if pair["status"] == "ok"]
        pairs = list[Pair]()
        for number in range(1, self.config.questions + 1):
            pair = self._pair(raw, said, number, known, kept)
            if pair["status"] == "ok":
                kept.append(pair["answer"])
            pairs.append(pair)
        return pairs

    def _pair(
        self, raw: dict[str, Any], said: Mapping[str, Said], number: int, known: dict[str, str], kept: list[str]
    ) -> Pair:
        question, answer = said[f"question {number}"], said[f"answer {number}"]
        if reason := question.reason or _unfit(question.answer or "", known):
            return _pair(question.answer, answer.answer, f"question: {reason}")
        asked = [Question(KIND, str(question.answer))]
        return judged(raw, asked, {KIND: answer}, known, self.near_duplicate, kept)[0]


def _unfit(question: str, known: dict[str, str]) -> str | None:
    """Why a question may not be asked, looked at alone; or None."""
    if len(question) > LONGEST:
        return f"more than {LONGEST} characters"
    return "quotes the internal context" if quotes(question, known) else None


def _pair(question: str | None, answer: str | None, reason: str) -> Pair:
    return {"question": question, "answer": answer, "kind": KIND, "status": "rejected", "reason": reason}
