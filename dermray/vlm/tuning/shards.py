"""Random access to the conversations that `encode` wrote."""

import numpy as np

from dermray.training.batches import MappedRows
from dermray.training.encode import read_index
from dermray.vlm.tuning.conversations import Conversation, Tokenised


class Conversations(MappedRows):
    """What `encode` wrote to a directory."""

    def __init__(self, directory: str) -> None:
        index = read_index(directory)
        super().__init__(directory, index["shards"], index)

    def read(self, index: np.ndarray) -> list[Conversation]:
        """Conversations `index`."""
        columns = (self._take(name, index) for name in ("sample_id", "image", "questions", "answers"))
        texts = (self._take(name, index) for name in Tokenised._fields)
        return [
            Conversation(name, image, tuple(zip(asked, said, strict=True)), Tokenised(*tokens))
            for name, image, asked, said, tokens in zip(*columns, zip(*texts, strict=True), strict=True)
        ]

    def lengths(self, index: np.ndarray) -> np.ndarray:
        """Tokens of conversations `index`."""
        return np.array(self._take("tokens", index))

    def learned(self, index: np.ndarray) -> int:
        """Tokens that conversations `index` have to say."""
        return sum(self._take("learned", index))

    def parts(self, most: int) -> list[np.ndarray]:
        """The numbers of all conversations in their order, at most so many at a time."""
        return np.array_split(np.arange(len(self)), -(-len(self) // most))
