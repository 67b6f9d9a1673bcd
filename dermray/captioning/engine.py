"""One way to ask a vision-language model, whoever hosts it: rows with an image and a question in, answers out.

Both engines take rows with the columns of `prepare.ASKED` and add those of `ANSWERED`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from dermray.captioning.cache import AnswerCache
from dermray.captioning.ledger import Ledger
from dermray.captioning.settings import Sampling

if TYPE_CHECKING:
    from ray.data import Dataset

ANSWERED = (
    ("text", pa.string()),
    ("tokens_in", pa.int32()),
    ("tokens_out", pa.int32()),
    ("finish_reason", pa.string()),
    ("engine_error", pa.string()),
    ("requests", pa.int32()),
)


class Manner(Protocol):
    """How an answer is drawn: what `Ask` says of it, and what a request to the service does."""

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn."""

    @property
    def schema(self) -> dict[str, Any] | None:
        """Of guided decoding."""


@dataclass(frozen=True)
class Ask:
    """What is the same for every row."""

    model: str
    sampling: Sampling
    schema: dict[str, Any] | None  # of guided decoding
    rows_per_block: int
    ledger: Ledger
    cache: AnswerCache
    max_engine_errors: float = 0.5  # see budget.py
    id_column: str = "sample_id"  # names a row: of several questions about one image another one


# Adds the columns of ANSWERED; rows that are `unreadable` are never sent.
Answer = Callable[["Dataset", Ask], "Dataset"]
