"""A row as a conversation about its image: its questions and answers, or else one question and the caption.

Only what stands is told: of `dermray instruct` the pairs with status ok.
"""

from typing import Any

import pyarrow as pa

from dermray.captioning.prompts.clinical_qa import GENERAL

MESSAGES = pa.field("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))
READ = ("pairs", "caption")  # columns that messages are made of
MEANING = "questions about the image and their answers, in turns of user and assistant; written by a machine"
# Their readers put the pixels where such a word stands, wherever it stands.
PLACEHOLDERS = ("<image>", "<video>", "<audio>")
Turns = list[tuple[str, str]]


def standing(pairs: list[dict[str, Any]] | None) -> list[dict[str, str]] | None:
    """Question and answer of each pair that was not rejected; pairs of captions have no status and all stand."""
    if pairs is None:
        return None
    return [{name: pair[name] for name in ("question", "answer")} for pair in pairs if pair.get("status", "ok") == "ok"]


def messages(row: dict[str, Any]) -> list[dict[str, str]]:
    """Turns as chat templates take them.

    Raises:
        RuntimeError: there is nothing to tell.
    """
    return [
        {"role": role, "content": words}
        for turn in _turns(row)
        for role, words in zip(("user", "assistant"), turn, strict=True)
    ]


def _turns(row: dict[str, Any]) -> Turns:
    pairs = standing(row.get("pairs"))
    if pairs:
        return [(_plain(pair["question"]), _plain(pair["answer"])) for pair in pairs]
    if row.get("caption"):
        return [(_asked(row["sample_id"]), _plain(row["caption"]))]
    raise RuntimeError(
        f"image {row['sample_id']} has status ok and neither a pair with status ok nor a caption; make the result again"
    )


def _asked(sample_id: str) -> str:
    """What a caption answers: always the same question of an image."""
    return GENERAL[int(sample_id[:8], 16) % len(GENERAL)]


def _plain(text: str) -> str:
    for word in PLACEHOLDERS:
        text = text.replace(word, word.strip("<>"))
    return text
