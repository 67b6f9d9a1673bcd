"""One request an image: its metadata as internal context, two questions, and the form of the answer."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from dermray.vlm.instruct import phrasings
from dermray.vlm.instruct.context import context
from dermray.vlm.instruct.questions import KINDS, Question, questions

INTERNAL = (
    "Internal context, for your reasoning only. Never quote it, never say that it was given, and state no age, sex or "
    "history of the patient:"
)
TASK = "Answer each question in one to four sentences, from what the image shows."
FORM = "Answer with one JSON object whose keys are {keys}, each with the answer to its question as a string."
NAME = "instruct"


def prompt(known: dict[str, str], asked: Sequence[Question]) -> str:
    """The filled prompt.

    Args:
        known: metadata in words, see `context`; may be empty. asked: of different kinds, which are the answer's keys.
    """
    lines = [INTERNAL, *(f"- {name}: {value}" for name, value in known.items()), ""] if known else []
    keys = " and ".join(f'"{question.kind}"' for question in asked)
    lines += [TASK, *(f"{question.kind}: {question.text}" for question in asked), FORM.format(keys=keys)]
    return "\n".join(lines)


def prompt_of(row: dict[str, Any], columns: Sequence[str]) -> str:
    """What is asked about a row, told those of its columns."""
    return prompt(context(row, columns), questions(row))


def schema(
    kinds: Sequence[str] = KINDS, most_characters: int | None = None, one_sentence: bool = False
) -> dict[str, Any]:
    """JSON schema of the answer, for guided decoding.

    Questions are not repeated in it: that would cost tokens, and models reword them.

    Args:
        most_characters: of an answer. one_sentence: it ends with its first full stop, and has plain words alone.
    """
    answer: dict[str, Any] = {"type": "string"}
    if one_sentence:  # xgrammar reads either a pattern or a length
        most = "" if most_characters is None else most_characters - 1
        answer["pattern"] = rf"^[A-Za-z0-9 ,;:()\-]{{1,{most}}}\.$"
    elif most_characters is not None:
        answer["maxLength"] = most_characters
    return {
        "type": "object",
        "properties": dict.fromkeys(kinds, answer),
        "required": list(kinds),
        "additionalProperties": False,
    }


def version() -> str:
    """Twelve hex digits that change with any word of the prompts."""
    families = [phrasings.GENERAL, phrasings.BY_MODALITY, phrasings.EITHER, phrasings.BY_SOURCE]
    text = json.dumps([INTERNAL, TASK, FORM, families, schema()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
