"""Captions counted as Ray Data counts them, and refused."""

import pyarrow as pa
import pytest

from dermray.generators.coverage import TextCoverage, coverage, together
from dermray.training.card import _reads
from dermray.training.text import _count, _judge, _readers
from tests.generators.conftest import CAPTIONS

MODEL = {"image_size": 32, "words": 8}


def test_blocks_add_up_to_all_captions() -> None:
    readers = _readers("pixel_dermdit", {}, None)
    blocks = [CAPTIONS, [], ["benign"] * 3]
    lines = [
        line
        for block in blocks
        for line in _count(pa.table({"caption": pa.array(block, "string")}), readers).to_pylist()
    ]
    parts = [{line["reader"]: TextCoverage.model_validate_json(line["coverage"])} for line in lines]
    assert together(parts) == coverage(readers, [caption for block in blocks for caption in block])


def test_words_are_those_of_the_captions_that_were_encoded(two_sizes: str) -> None:
    [reader] = _readers("pixel_dermdit", MODEL, two_sizes)
    assert reader.known({"caption", "3", "melanoma"}) <= {"caption", "3"} and reader.known({"caption"})
    found = coverage([reader], [f"caption {i}" for i in range(16)])["words"]
    assert (found.words, found.unknown_words) == (32, 32 - 16 - 7), "eight words fit: caption and seven numbers"


def test_a_vocabulary_that_most_words_are_not_in_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    readers = _readers("pixel_dermdit", {}, None)  # no words at all
    with pytest.raises(
        ValueError, match=r"family=x: in the captions 14 of 14 words are unknown .*'asymmetric'.*model.words"
    ):
        _judge(coverage(readers, CAPTIONS), "family=x: in the captions")
    assert capsys.readouterr().out == ""


def test_what_is_cut_is_said(two_sizes: str, capsys: pytest.CaptureFixture[str]) -> None:
    readers = _readers("pixel_dermdit", {"caption_length": 4}, two_sizes)
    _judge(coverage(readers, ["caption 1 2 3 4 5", "caption 1"]), "in the captions")
    said = capsys.readouterr().out
    assert "warning: in the captions 1 of 2 texts are longer than the 4 words that the text encoder (words)" in said
    assert "reads: 2 words are cut off" in said
    assert "the longest for words, 6 words: caption 1 2 3 4 5" in said


def test_the_card_says_what_is_known_of_clip() -> None:
    part = TextCoverage(unit="tokens", limit=77)
    assert _reads("t5", part) == "77 tokens (t5)"
    byte_level = part.model_copy(update={"unknown_words": None})
    assert _reads("clip", byte_level) == "77 tokens (clip, byte-level, of an encoder that was trained on English)"
