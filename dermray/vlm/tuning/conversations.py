"""What a vision-language model is tuned on: an image, questions about it, the answers it shall give."""

from dataclasses import dataclass


class Unusable(ValueError):
    """A conversation that cannot be trained on; the message is the row's reason."""


@dataclass(frozen=True)
class Conversation:
    """Questions and answers about one image, which comes first.

    Args:
        sample_id: of the row. image: encoded bytes. turns: (question, answer) each.
    """

    sample_id: str
    image: bytes
    turns: tuple[tuple[str, str], ...]
