import pytest

from dermray.captioning.reading.typography import plain, typed


@pytest.mark.parametrize(
    "text",
    [
        "I can’t",
        "I can‘t",
        "I can´t",
        "I canʼt",
        "I can`t",
        "I can＇t",
        "I​ can’t",
        "**I** can't",
        "I **can't**",
        "_I can't_",
        "𝐈 𝐜𝐚𝐧'𝐭",
        "Ｉ ｃａｎ＇ｔ",
        "> I can't",
        "- I can't",
        "1. I can't",
        "I\u00a0can't",
    ],
)
def test_one_sentence_has_one_spelling(text: str) -> None:
    assert plain(text) == "i can't"


def test_tables_titles_and_wrapped_lines() -> None:
    assert plain("| Sign | Finding |\n|---|:--:|\n| Border | *irregular* |") == "sign: finding\nborder: irregular"
    assert plain("## Border\nIrregular.\n**Colour:**\nBlack") == "border:\nirregular.\ncolour:\nblack"
    assert plain("The border\nis smooth.\nIt is red.") == "the border is smooth.\nit is red."
    assert plain("blue–grey — no veil") == "blue-grey  -  no veil"


def test_captions_keep_their_words() -> None:
    """Quotes and hyphens are levelled, and nothing that carries meaning: NFKC would make mm2 of mm²."""
    assert typed("A “5 mm²” **mole**; it’s blue\u2011gray\u200b.") == 'A "5 mm²" **mole**; it\'s blue-gray.'
