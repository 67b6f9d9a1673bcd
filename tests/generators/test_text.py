"""Captions as words, held to the expression that old checkpoints' word lists were made with."""
# letters that look like others are what is tested

import re
import string

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dermray.captioning.answers import Attributes, phrase
from dermray.generators import nano
from dermray.generators.base import Request
from dermray.generators.pixel_dermdit import PixelDermDiT, PixelDermDiTConfig
from dermray.generators.text import UNKNOWN, Words, as_written, split
from dermray.records import COLOURS, SKIN_TONES

# Latin, accents, Greek and Cyrillic, Arabic, Devanagari, Thai, dashes and quotes, kana, Chinese, Korean: no newer
# Unicode adds letters there, which one library would know and the other not
BLOCKS = ((0, 0x17F), (0x300, 0x36F), (0x391, 0x45F), (0x620, 0x64A), (0x905, 0x94D), (0xE01, 0xE4E), (0x2010, 0x2027),
          (0x3041, 0x30FE), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3))  # fmt: skip
LETTERS = st.one_of([st.characters(min_codepoint=low, max_codepoint=high) for low, high in BLOCKS])
TYPOGRAPHY = "’‘“”–—…•\u00a0\u2011"  # what English text has beside ASCII


def as_before(caption: str) -> list[str]:
    """The words of captions when word lists were English."""
    return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", caption.lower())


@given(st.text(st.sampled_from(string.printable + TYPOGRAPHY)))
def test_english_is_split_as_ever(caption: str) -> None:
    assert split(caption) == as_before(caption)


@given(
    st.builds(
        Attributes, st.booleans(), st.booleans(), st.lists(st.sampled_from(COLOURS), unique=True).map(tuple),
        st.sampled_from(SKIN_TONES),
    )
)  # fmt: skip
def test_old_word_lists_give_the_same_ids(said: Attributes) -> None:
    caption = f"malignant, skin tone {said.skin_tone}: {phrase(said)}"
    words = Words(sorted(set(as_before(caption)))[::2], 40)
    old = {word: i + 2 for i, word in enumerate(words.words)}
    assert words.ids(caption) == [old.get(word, UNKNOWN) for word in as_before(caption)]


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("Меланома, тон кожи Б", ["меланома", "тон", "кожи", "б"]),
        ("黑色素瘤，边界不规则", list("黑色素瘤边界不规则")),
        ("ＢＣＣ ５ｍｍ", ["bcc", "5mm"]),  # full-width
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("ne\u0301vus caf\u00e9-au-lait", ["névus", "café-au-lait"]),  # an accent apart and one within
        ("त्वचा कैंसर", ["त्वचा", "कैंसर"]),  # vowels are combining marks
        ("メラノーマ", ["メ", "ラ", "ノ", "ー", "マ"]),
        ("흑색종 의심", ["흑색종", "의심"]),
        ("ورم ميلانيني", ["ورم", "ميلانيني"]),
        ("! 🔥 - ´", []),
    ],
)
def test_words_of_other_scripts(caption: str, words: list[str]) -> None:
    assert split(caption) == words


@given(st.text(LETTERS, max_size=40))
def test_the_nano_tokenizer_has_the_same_words(caption: str) -> None:
    """Two libraries read one expression; the case folding of rare scripts aside, they agree on every text."""
    folded = caption.lower()
    if folded != caption.casefold():  # tokenizers has no case folding; ß and ς are tested above
        return
    assert nano.tokenizer([caption], 77).tokenize(folded) == split(folded)


def test_a_word_as_written_is_the_word_that_was_split() -> None:
    caption = "ＢＣＣ, Straße: 黑 a-b"
    assert [word for part in as_written(caption) for word in split(part)] == split(caption)


@pytest.mark.parametrize("captions", [["меланома", "невус"], ["黑色素瘤", "色素痣"]])
def test_a_model_that_learned_another_language_tells_its_words_apart(captions: list[str]) -> None:
    """All of them were one unknown word, and melanoma and nevus the same pixels."""
    config = PixelDermDiTConfig(image_size=16, stem_width=8, width=32, blocks=1)
    torch.manual_seed(0)
    model = PixelDermDiT.from_captions(config, captions)
    with torch.no_grad():  # fresh layers are zero and would draw one picture whatever the text
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    first, second = model.sample([Request(caption, 7) for caption in captions], 2.0, 4)
    assert not torch.equal(first, second)
