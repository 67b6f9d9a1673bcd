"""GLIDE's byte-pair tokenizer, GPT-2's in lower case, from the files that OpenAI published."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

END = "<|endoftext|>"  # the last token of the list; GLIDE pads with it
FILES = ("encoder.json", "vocab.bpe")
SOURCE = "they lie in github.com/openai/glide-text2im, glide_text2im/tokenizer, as .gz"


def read_tokenizer(directory: Path, words: int, context: int) -> transformers.PreTrainedTokenizerFast:
    """The tokenizer of `encoder.json` and `vocab.bpe`, plain or gzipped.

    Args:
        words: how many tokens are expected. context: tokens that are read of a text.

    Raises:
        FileNotFoundError: a file is missing. ValueError: damaged, or another vocabulary.
    """
    listed, merged = (_read(directory, name) for name in FILES)
    try:
        vocabulary: dict[str, int] = json.loads(listed)
        merges = [(left, right) for left, right in (line.split() for line in merged.split("\n")[1:] if line)]
        model = models.BPE(vocab=vocabulary, merges=merges)
    except Exception as error:  # tokenizers raises bare ones
        raise ValueError(f"{directory}: {' and '.join(FILES)} do not go together, or are damaged ({error})") from None
    if len(vocabulary) != words or vocabulary.get(END) != words - 1:
        raise ValueError(
            f"{directory}/{FILES[0]}: {len(vocabulary)} tokens, {END} is number {vocabulary.get(END)}; expected "
            f"{words} tokens of which it is the last; {SOURCE}"
        )
    made = Tokenizer(model)
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token=END, model_max_length=context)


def _read(directory: Path, name: str) -> str:
    """Text of a file, or of the gzipped one in its place."""
    plain, zipped = directory / name, directory / f"{name}.gz"
    if plain.is_file():
        return plain.read_text("utf-8")
    if not zipped.is_file():
        raise FileNotFoundError(f"{directory}: neither {name} nor {name}.gz; {SOURCE}")
    try:
        return gzip.decompress(zipped.read_bytes()).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{zipped}: damaged ({error}); copy it again") from None
