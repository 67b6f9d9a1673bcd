"""What is cut or unknown, held to transformers' own tokenizers."""
# Chinese commas are meant

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from dermray.generators import nano
from dermray.generators.base import FAMILIES, Request, family
from dermray.generators.coverage import (
    Reader,
    TextCoverage,
    TokenReader,
    WordReader,
    coverage,
    losses,
    mostly_unknown,
    together,
    too_long,
    unknown_words,
    unreadable,
)
from dermray.generators.text import Words
from tests.generators.conftest import CAPTIONS, FLOW_LORA

LONG = " ".join(CAPTIONS * 8)
FOREIGN = [("меланома, неровный край", "невус, ровный край"), ("黑色素瘤，边界不规则", "色素痣，边界规则")]
SMALL: dict[str, dict[str, Any]] = {
    "flux_lora": {"image_size": 32, "rank": 4, "max_sequence_length": 16},
    "sd3_lora": {"image_size": 32, "rank": 4, "max_sequence_length": 16},
    "stable_diffusion": {"image_size": 32},
    "stable_diffusion_lora": {"image_size": 32, "rank": 4},
    "latent_diffusion": {"image_size": 32},
    "dermdit": {},
    "glide": {},
    "pixel_dermdit": {"image_size": 16, "stem_width": 8, "width": 32, "blocks": 1},
}


def word_reader(length: int = 40) -> WordReader:
    return WordReader("words", Words.from_captions(CAPTIONS, length, 512))


@pytest.fixture(scope="module")
def byte_level() -> CLIPTokenizer:
    """CLIP's tokenizer with the 512 letters that every CLIP vocabulary begins with, and no merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({name: i for i, name in enumerate(names)}, [], model_max_length=77)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_readers_of_a_family_are_those_of_its_model(name: str, tmp_path: Path) -> None:
    """Made from captions, or read from a checkpoint, they count what transformers' tokenizers of that model count."""
    cls = family(name)
    config = cls.Config(**SMALL.get(name, FLOW_LORA))
    made = cls.from_captions(config, CAPTIONS)
    made.save(tmp_path)
    texts = [*CAPTIONS, LONG, "меланома red", ""]
    fresh, saved = (coverage(r, texts) for r in (cls.readers(config, CAPTIONS), cls.readers(config, [], tmp_path)))
    assert fresh == saved
    pipeline: Any = made if hasattr(made, "tokenizer") else getattr(made, "pipeline", None)
    limits: dict[str, int] = {"clip": 77, "clip_2": 77, "t5": 16, "words": 40 if pipeline is None else 128}
    limits |= dict.fromkeys(("qwen3", "qwen2_5_vl", "gemma"), getattr(config, "max_sequence_length", 0))
    for reader, part in fresh.items():
        if pipeline is None:
            lengths = [len(text.split()) for text in texts]  # no word of these has a hyphen or a sign of its own
        else:
            last = "tokenizer_3" if hasattr(pipeline, "tokenizer_3") else "tokenizer_2"
            tokenizer = getattr(pipeline, {"t5": last, "clip_2": "tokenizer_2"}.get(reader, "tokenizer"))
            lengths = [len(tokenizer(text).input_ids) for text in texts]
        over = [max(0, length - limits[reader]) for length in lengths]
        assert (part.limit, part.cut, part.cut_off) == (limits[reader], sum(n > 0 for n in over), sum(over))
        assert part.longest == max(lengths) and part.unknown_words == 1 and part.unknown_examples == ["меланома"]
        assert (part.texts, part.wordless, part.other_script, part.mostly_unknown) == (5, 1, 0, 0)


def test_no_text_is_lost_where_none_is_read() -> None:
    for name, model in (("dermdit", {"conditional": False}), ("latent_diffusion", {"caption_dropout": 1.0})):
        cls = family(name)
        assert cls.readers(cls.Config(**model), CAPTIONS) == []
    assert unreadable({}) is None and too_long({}) is None and losses({}) == []


@pytest.mark.parametrize("captions", FOREIGN)
@pytest.mark.parametrize("name", ["pixel_dermdit", "stable_diffusion_lora", "flux_lora", "glide"])
def test_captions_that_draw_the_same_are_refused(name: str, captions: tuple[str, str]) -> None:
    cls = family(name)
    config = cls.Config(**SMALL.get(name, FLOW_LORA))
    reason = unreadable(coverage(cls.readers(config, CAPTIONS), list(captions)))
    assert reason and "are unknown to the generator's text encoder" in reason and "all draw the same" in reason
    assert repr(sorted(Words.from_captions(list(captions), 9, 99).words)[0]) in reason, "it names the words"
    assert unreadable(coverage(cls.readers(config, CAPTIONS), CAPTIONS)) is None


def test_half_of_the_words_is_not_most() -> None:
    found = coverage([word_reader()], ["red zebra", "red black zebra", "zebra okapi red"])["words"]
    assert (found.words, found.unknown_words, found.mostly_unknown) == (8, 4, 1)
    assert found.unknown_examples == ["okapi", "zebra"]
    assert mostly_unknown([word_reader()], ["red zebra", "zebra okapi red"]) == {"zebra okapi red"}
    assert unknown_words([word_reader()], "zebra okapi red") == ["okapi", "zebra"]


def test_clip_knows_every_byte_and_that_is_all_that_is_said(byte_level: CLIPTokenizer) -> None:
    reader = TokenReader("clip", byte_level, 77)
    found = coverage([reader], ["меланома", "黑色素瘤", "red", "naïve nevus"])
    part = found["clip"]
    assert reader.knows_all and part.unknown_words is None and part.mostly_unknown is None
    assert part.other_script == 2 and unreadable(found) is None
    assert losses(found) == [
        "2 of 4 texts are mostly in another script than Latin: clip has tokens for it, but how much it understands is "
        "not known"
    ]
    long = coverage([reader], ["x" * 100])["clip"]
    assert long.cut_off == len(byte_level("x" * 100).input_ids) - 77 == 25


def test_a_word_without_any_token_is_unknown() -> None:
    """Older nano tokenizers drop other scripts instead of marking them unknown."""
    made = nano.tokenizer(CAPTIONS, 77)
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^a-z0-9-]+"), "removed")
    again = PreTrainedTokenizerFast(tokenizer_object=made.backend_tokenizer, unk_token="<unk>")
    assert again.tokenize("меланома") == []
    assert unknown_words([TokenReader("clip", again, 77)], "red меланома") == ["меланома"]


def test_a_prompt_is_too_long_where_no_reader_has_room() -> None:
    clip, t5 = (
        TokenReader("clip", nano.tokenizer(CAPTIONS, 77), 77),
        TokenReader("t5", nano.tokenizer(CAPTIONS, 512), 512),
    )
    assert too_long(coverage([clip, t5], [LONG])) is None
    assert losses(coverage([clip, t5], [LONG])) == [
        "the text is longer than the 77 tokens that the text encoder (clip) reads: 37 tokens are cut off"
    ]
    assert too_long(coverage([clip], [LONG])) == f"{8 * 14 + 2} tokens, of which the text encoder (clip) reads 77"


@given(st.lists(st.lists(st.sampled_from([*CAPTIONS, LONG, "zebra", "меланома", "", "?!"]), max_size=3), max_size=4))
def test_parts_add_up_to_the_whole(parts: list[list[str]]) -> None:
    readers: list[Reader] = [word_reader(8)]
    whole = coverage(readers, [text for part in parts for text in part])
    added = together([coverage(readers, []), *(coverage(readers, part) for part in parts)])
    assert added == whole
    assert TextCoverage.model_validate_json(whole["words"].model_dump_json()) == whole["words"]


def test_pixels_of_unknown_words_are_equal_and_of_known_ones_are_not() -> None:
    """The fault itself, on a model that learned English."""
    torch.manual_seed(0)
    cls = family("pixel_dermdit")
    model = cls.from_captions(cls.Config(**SMALL["pixel_dermdit"]), CAPTIONS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    draw = lambda *texts: model.sample([Request(text, 7) for text in texts], 2.0, 4)  # noqa: E731
    melanoma, nevus, red, black = draw("меланома", "невус", "red", "black")
    assert torch.equal(melanoma, nevus) and not torch.equal(red, black)
    readers = cls.readers(cls.Config(**SMALL["pixel_dermdit"]), CAPTIONS)
    assert mostly_unknown(readers, ["меланома", "невус", "red", "black"]) == {"меланома", "невус"}
