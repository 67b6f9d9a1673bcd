"""How much of a text a generator reads: what is too long for it, which words it does not know.

One rule for training, drawing and serving. A reader is the tokenizer before a text encoder. A word is unknown to a
reader that gives it no token, or the token that all unknown words share: two captions of such words are one caption.
Byte-level tokenizers (CLIP's) have tokens for whatever can be written, so nothing is unknown to them; how much an
encoder that was trained on English understands of it, a tokenizer cannot say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import regex
from pydantic import BaseModel
from tokenizers.pre_tokenizers import ByteLevel

from dermray.generators.text import Words, as_written, split

EXAMPLES = 10  # unknown words that are named
EXCERPT = 200  # characters of a text that is too long
FOREIGN = regex.compile(r"(?!\p{Latin})\p{L}")  # a letter of another script


class Reader:
    """A tokenizer: `limit` words or tokens, those that mark start and end among them, are read of a text.

    Args:
        name: of the text encoder, as reports print it.
    """

    unit: Literal["words", "tokens"]
    knows_all = False  # whether every word has tokens of its own

    def __init__(self, name: str, limit: int) -> None:
        self.name, self.limit = name, limit

    def words(self, text: str) -> list[str]:
        """The words of a text, spelt as `known` takes them."""
        return as_written(text)

    def lengths(self, texts: list[str]) -> list[int]:
        """How long texts are when nothing is cut off."""
        raise TypeError(f"{type(self).__name__} does not count")

    def known(self, words: set[str]) -> set[str]:
        """Those of `words` that differ from each other to the text encoder."""
        raise TypeError(f"{type(self).__name__} does not know")


class WordReader(Reader):
    """A word list."""

    unit = "words"

    def __init__(self, name: str, words: Words) -> None:
        super().__init__(name, words.length)
        self._list = words

    def words(self, text: str) -> list[str]:
        """As the list spells them."""
        return split(text)

    def lengths(self, texts: list[str]) -> list[int]:
        """Words."""
        return [len(split(text)) for text in texts]

    def known(self, words: set[str]) -> set[str]:
        """Those on the list."""
        return {word for word in words if word in self._list}


class TokenReader(Reader):
    """A tokenizer of transformers'."""

    unit = "tokens"

    def __init__(self, name: str, tokenizer: Any, limit: int) -> None:
        super().__init__(name, limit)
        self._tokenizer = tokenizer
        self.knows_all = set(ByteLevel.alphabet()) <= tokenizer.get_vocab().keys()
        self._seen: dict[str, bool] = {}  # captions share most of their words

    def lengths(self, texts: list[str]) -> list[int]:
        """Tokens, start and end among them."""
        return [len(ids) for ids in self._tokenizer(texts, truncation=False, verbose=False).input_ids] if texts else []

    def known(self, words: set[str]) -> set[str]:
        """Those that become tokens, none of them the unknown one."""
        if self.knows_all:
            return words
        if new := sorted(words - self._seen.keys()):
            unknown = self._tokenizer.unk_token_id
            rows = self._tokenizer(new, add_special_tokens=False, verbose=False).input_ids
            self._seen |= {word: bool(ids) and unknown not in ids for word, ids in zip(new, rows, strict=True)}
        return {word for word in words if self._seen[word]}


class TextCoverage(BaseModel):
    """What one reader takes in of some texts. `metrics["text"]` of a manifest has one for each reader."""

    unit: Literal["words", "tokens"]
    limit: int  # of these it reads
    texts: int = 0
    cut: int = 0  # texts that are longer
    cut_off: int = 0  # words or tokens that are lost by it
    longest: int = 0  # words or tokens of the longest text
    cut_example: str | None = None  # the longest text that is cut
    wordless: int = 0  # texts of punctuation, symbols or nothing
    words: int = 0
    unknown_words: int | None = 0  # None: no word is unknown to the tokenizer, which does not say that it is understood
    mostly_unknown: int | None = 0  # texts more than half of whose words are unknown
    unknown_examples: list[str] = []
    other_script: int = 0  # texts more than half of whose words are not in Latin letters

    def __add__(self, other: TextCoverage) -> TextCoverage:
        """Of both together."""
        added = ("texts", "cut", "cut_off", "wordless", "words", "other_script")
        sums: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in added}
        if self.unknown_words is not None:
            sums |= {name: getattr(self, name) + getattr(other, name) for name in ("unknown_words", "mostly_unknown")}
        longer = max(self, other, key=lambda part: (part.longest, part.cut_example or ""))
        examples = sorted({*self.unknown_examples, *other.unknown_examples})[:EXAMPLES]
        sums |= {"longest": longer.longest, "cut_example": longer.cut_example, "unknown_examples": examples}
        return self.model_copy(update=sums)


Coverage = dict[str, TextCoverage]  # by the reader's name; empty for a generator that reads no text


def coverage(readers: list[Reader], texts: list[str]) -> Coverage:
    """What each reader takes in of `texts`."""
    return {reader.name: _coverage(reader, texts) for reader in readers}


def _coverage(reader: Reader, texts: list[str]) -> TextCoverage:
    covered = TextCoverage(unit=reader.unit, limit=reader.limit, texts=len(texts))
    lengths = reader.lengths(texts)
    over = [max(0, length - reader.limit) for length in lengths]
    covered.cut, covered.cut_off = sum(more > 0 for more in over), sum(over)
    covered.longest = max(lengths, default=0)
    if covered.cut:
        covered.cut_example = max(t for t, n in zip(texts, lengths, strict=True) if n == covered.longest)[:EXCERPT]
    words = [reader.words(text) for text in texts]
    covered.words, covered.wordless = sum(map(len, words)), sum(not row for row in words)
    others = [row for text, row in zip(texts, words, strict=True) if not text.isascii()]
    covered.other_script = sum(_most([bool(FOREIGN.search(word)) for word in row]) for row in others)
    if reader.knows_all:
        covered.unknown_words = covered.mostly_unknown = None
        return covered
    unknown, examples = _unknown(reader, words)
    covered.unknown_words, covered.mostly_unknown = sum(map(sum, unknown)), sum(map(_most, unknown))
    covered.unknown_examples = examples[:EXAMPLES]
    return covered


def _unknown(reader: Reader, words: list[list[str]]) -> tuple[list[list[bool]], list[str]]:
    """Which words of each text are unknown, and these words in their order."""
    every = {word for row in words for word in row}
    known = reader.known(every)
    return [[word not in known for word in row] for row in words], sorted(every - known)


def unknown_words(readers: list[Reader], text: str) -> list[str]:
    """The words of a text that one of the readers does not know."""
    return sorted({word for reader in readers for word in _unknown(reader, [reader.words(text)])[1]})


def mostly_unknown(readers: list[Reader], texts: list[str]) -> set[str]:
    """Those of `texts` more than half of whose words one of the readers does not know."""
    lost: set[str] = set()
    for reader in readers:
        unknown, _ = _unknown(reader, [reader.words(text) for text in texts])
        lost |= {text for text, flags in zip(texts, unknown, strict=True) if _most(flags)}
    return lost


def _most(flags: list[bool]) -> bool:
    return 2 * sum(flags) > len(flags)


def together(parts: Iterable[Coverage]) -> Coverage:
    """Coverage of parts of the texts as coverage of them all."""
    whole: Coverage = {}
    for part in parts:
        whole |= {name: whole[name] + covered if name in whole else covered for name, covered in part.items()}
    return whole


def unreadable(covered: Coverage) -> str | None:
    """Why nothing should be made of these texts: to one of the readers most of them are mostly unknown words."""
    for name, part in covered.items():
        if part.mostly_unknown and 2 * part.mostly_unknown > part.texts:
            return (
                f"{part.unknown_words} of {part.words} words are unknown to the generator's text encoder ({name}), and "
                f"texts of unknown words all draw the same; for example {', '.join(map(repr, part.unknown_examples))}"
            )
    return None


def too_long(covered: Coverage) -> str | None:
    """What all readers cut off, where they all cut every text: words that would be read by none of them."""
    if not covered or any(part.cut < part.texts for part in covered.values()):
        return None
    return "; ".join(
        f"{p.longest} {p.unit}, of which the text encoder ({name}) reads {p.limit}" for name, p in covered.items()
    )


def losses(covered: Coverage) -> list[str]:
    """What is lost or may not be understood, in a sentence each; none where nothing is."""
    return [sentence for name, part in covered.items() for sentence in _losses(name, part)]


def _losses(name: str, part: TextCoverage) -> list[str]:
    said = []
    if part.cut:
        said.append(
            f"{_texts(part.cut, part)} longer than the {part.limit} {part.unit} that the text encoder ({name}) "
            f"reads: {part.cut_off} {part.unit} are cut off"
        )
    if part.unknown_words:
        mostly = _texts(part.mostly_unknown or 0, part)
        said.append(
            f"{part.unknown_words} of {part.words} words are unknown to the text encoder ({name}); {mostly} mostly such"
        )
    if part.unknown_words is None and part.other_script:
        said.append(
            f"{_texts(part.other_script, part)} mostly in another script than Latin: {name} has tokens for it, but how "
            "much it understands is not known"
        )
    if part.wordless:
        said.append(f"{_texts(part.wordless, part)} without a word")
    return said


def _texts(count: int, part: TextCoverage) -> str:
    if part.texts == 1:
        return "the text is" if count else "the text is not"
    return f"{count} of {part.texts} texts are"
