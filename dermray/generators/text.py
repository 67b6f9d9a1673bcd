"""A small text encoder with its own word list, trained along with the generator."""

import unicodedata
from collections import Counter

import regex
import torch
from torch import Tensor, nn

PAD, UNKNOWN = 0, 1
# Scripts that put no space between words: each letter is a word, or a whole sentence would be a single unknown one.
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"
# A combining mark (a Hindi vowel, an accent written apart) belongs to the letter before it and never starts a word.
# Runs of ASCII are taken at once: the look-ahead at every letter costs as much again.
LETTERS = rf"(?:[0-9A-Za-z]+\p{{M}}*|(?!{UNSPACED})[\p{{L}}\p{{N}}]\p{{M}}*)+"
WORD = rf"{UNSPACED}|{LETTERS}(?:-{LETTERS})*"  # read alike by `regex` and by the tokenizers library


class Words:
    """A word list: text to ids and back to nothing. Unknown words share one id."""

    def __init__(self, words: list[str], length: int) -> None:
        self.words, self.length = words, length
        self._index = {word: i + 2 for i, word in enumerate(words)}

    @classmethod
    def from_captions(cls, captions: list[str], length: int, size: int) -> "Words":
        """The `size` most frequent words."""
        counts = Counter(word for caption in captions for word in split(caption))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls([word for word, _ in ranked[:size]], length)

    def __len__(self) -> int:
        return len(self.words) + 2

    def __contains__(self, word: str) -> bool:
        return word in self._index

    def ids(self, caption: str) -> list[int]:
        """At most `length` ids; none of them is padding. An empty caption is one unknown word."""
        return [self._index.get(word, UNKNOWN) for word in split(caption)][: self.length] or [UNKNOWN]

    def encode(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Ids (B, length) int64 and mask (B, length) bool. What is longer is cut at `length` words."""
        ids = [self.ids(caption) for caption in captions]
        tokens = torch.tensor([row + [PAD] * (self.length - len(row)) for row in ids], dtype=torch.int64)
        return tokens.view(-1, self.length), tokens.view(-1, self.length) != PAD


def split(caption: str) -> list[str]:
    """Words and numbers of any script: compatibility forms (full-width letters, ligatures) resolved, case folded."""
    return as_written(unicodedata.normalize("NFKC", caption).casefold())


def as_written(caption: str) -> list[str]:
    """The same words, spelt as they stand there."""
    return regex.findall(WORD, caption)


class TextEncoder(nn.Module):
    """Word and position embeddings under a transformer: (B, T) ids to (B, T, D)."""

    def __init__(self, vocabulary: int, length: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.word = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(length, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Padding is neither attended to nor averaged."""
        states = self.word(tokens) + self.position[: tokens.shape[1]]
        # A caption of no known word keeps one position, or its softmax would have nothing to weigh.
        visible = mask.clone()
        visible[:, 0] = True
        encoded: Tensor = self.layers(states, src_key_padding_mask=~visible)
        return encoded
