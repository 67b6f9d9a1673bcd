"""Metadata and answers in other scripts than Latin go through the stage as they are."""
# Cyrillic is meant

import pyarrow as pa
import pytest

from dermray.captioning import prompts
from dermray.captioning.finish import Finish
from dermray.records import CAPTIONED, IMAGES
from dermray.vlm.nano import build_tokenizer

KNOWN = {"malignant": True, "diagnosis": "меланома", "site": "背部", "sex": "female", "skin_tone": "B"}
ROW = dict.fromkeys(IMAGES.names) | {"sample_id": "0a1b2c3d"} | KNOWN


@pytest.mark.parametrize("name", ["attributes-5", "clinical-qa"])
def test_a_question_has_the_words_of_the_metadata(name: str) -> None:
    question = prompts.render(name, ROW)
    assert "背部" in question
    assert build_tokenizer().decode(build_tokenizer()(question).input_ids) == question, "and its tokens have them"


def test_a_caption_has_the_words_of_the_metadata_and_of_the_answer() -> None:
    answer = "На спине чёрное пятно. 背部有黑色斑点。"
    raw = ROW | {"question": "q", "unreadable": None, "text": answer, "finish_reason": "stop", "requests": 1}
    finish = Finish("attributes-5", ("malignant", "diagnosis", "site"), {})
    row = finish.row(raw)
    assert row["status"] == "ok", row["reason"]
    assert row["caption"] == f"malignant, меланома, 背部: {answer}"
    table = pa.Table.from_pylist([{name: row[name] for name in CAPTIONED.names}], CAPTIONED)
    assert table["caption"].to_pylist() == [row["caption"]]
