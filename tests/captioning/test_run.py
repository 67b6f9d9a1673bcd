from collections import Counter
from typing import Any

import pytest

from dermray.captioning.run import CaptionConfig, _captioner, _Finish, _Prepare, run
from dermray.config import validate
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.records import CAPTIONED, IMAGES, conform

FINISH = _Finish("captioner-key", ("malignant", "skin_tone"), max_tokens=48)


def prepared(**answer: Any) -> dict[str, Any]:
    row = phantom_row(3, SourceConfig(count=9)) | {"status": "ok", "sample_id": "s"}
    return row | {"question": "?", "unreadable": None, "num_generated_tokens": 9} | answer


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        ({"generated_text": "asymmetric lesion, red."}, "ok", None),
        ({"generated_text": ""}, "rejected", "empty answer"),
        ({"generated_text": "asymmetric", "num_generated_tokens": 48}, "rejected", "truncated answer"),
        (
            {"generated_text": "", "__inference_error__": "ValueError: too long"},
            "failed",
            "engine: ValueError: too long",
        ),
        ({"generated_text": "asymmetric", "unreadable": "empty file"}, "rejected", "empty file"),
    ],
)
def test_every_row_gets_one_schema_and_one_status(answer: dict[str, Any], status: str, reason: str | None) -> None:
    row = FINISH.row(prepared(**answer))
    assert (row["status"], row["reason"]) == (status, reason)
    assert conform([row], CAPTIONED).schema == CAPTIONED
    assert (row.get("caption") is None) == (status != "ok")


def test_a_bad_image_stays_in_its_block_and_is_shown_blank() -> None:
    rows = [phantom_row(i, SourceConfig(count=9, broken=0, duplicates=0)) for i in range(3)]
    rows[1]["image"] = b"not an image"
    table = _Prepare("abc")(conform(rows, IMAGES))
    assert table["unreadable"].to_pylist() == [None, "not a JPEG or PNG image", None]
    assert table["shown"].to_pylist()[0] == rows[0]["image"]
    assert table["shown"].to_pylist()[1][:4] == b"\x89PNG"


def test_models_are_found_in_three_places(tmp_path: Any) -> None:
    assert _captioner("llava-hf/llava-1.5-7b-hf")[0] == "llava-hf/llava-1.5-7b-hf"
    assert _captioner(str(tmp_path))[0] == str(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such directory"):
        _captioner(str(tmp_path / "none"))


def test_wrong_words_are_refused_before_anything_is_read(tmp_path: Any) -> None:
    base = {"output": str(tmp_path), "rows": "r", "captioner": "c"}
    with pytest.raises(ValueError, match=r"metadata=\['colour'\]"):
        run(validate(CaptionConfig, base | {"metadata": ["colour"]}))
    with pytest.raises(ValueError, match="prompt_set"):
        run(validate(CaptionConfig, base | {"prompt_set": "xyz"}))


def test_counts_add_up() -> None:
    from dermray.manifest import Rows

    rows = Rows.count(Counter({("ok", None): 4, ("rejected", "empty answer"): 2}))
    assert (rows.rows_in, rows.reasons) == (6, {"rejected: empty answer": 2})
