"""What rows have to learn from, told before anything is started; and what shards hold of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dermray.records import INSTRUCTED
from dermray.row_files import RowFiles
from dermray.vlm.tuning.conversations import AnswersConfig
from dermray.vlm.tuning.encode import Tokens, conversed, finish, write_shard
from dermray.vlm.tuning.shards import Conversations
from dermray.vlm.tuning.survey import check_columns, key_of, survey
from tests.vlm.tuning.tasks import base_of, phantoms

PAIRS = AnswersConfig(turns="separate")


def instructed(pairs: list[list[tuple[str, str]] | None], **changes: Any) -> pa.Table:
    """Rows with these pairs."""
    rows = [row | changes | {"pairs": None} for row in phantoms(len(pairs)).to_pylist()]
    for row, asked in zip(rows, pairs, strict=True):
        if asked is not None:
            row["pairs"] = [{"question": q, "answer": a, "kind": "general", "status": "ok"} for q, a in asked]
    return pa.Table.from_pylist([{name: row.get(name) for name in INSTRUCTED.names} for row in rows], INSTRUCTED)


def written(table: pa.Table, place: Path) -> RowFiles:
    place.mkdir(exist_ok=True)
    pq.write_table(table, place / "rows.parquet", row_group_size=2)
    return RowFiles(str(place))


def test_conversations_are_counted_and_drawn_by_their_keys(tmp_path: Path) -> None:
    table = instructed([[("What?", "A."), ("Which?", "B.")], [("What?", "C.")], [("What?", " ")], None])
    rows = written(table, tmp_path / "rows")
    found = survey(rows, PAIRS, "train", None)
    assert (found.usable, found.drawn, found.most) == (3, 3, None)
    assert found.lacking == {"pairs without question or answer": 1, "no pairs": 1}
    ids = table["sample_id"].to_pylist()
    keys = sorted(key_of(*which) for which in ((ids[0], 0), (ids[0], 1), (ids[1], 0)))
    some = survey(rows, PAIRS, "train", 2)
    assert (some.usable, some.drawn, some.most) == (3, 2, keys[1])


@pytest.mark.parametrize(
    ("table", "learn", "message"),
    [
        (lambda: instructed([None, None]), PAIRS, "nothing to learn from in the train split .2 times no pairs"),
        (lambda: instructed([[("What?", "")]]), PAIRS, "1 times pairs without question or answer"),
        (lambda: instructed([[("What?", "A.")]] * 3, image=None), PAIRS, "3 times no image"),
        (lambda: instructed([[("What?", "A.")]], split="test"), PAIRS, r"in the train split \(no row\)"),
        (lambda: instructed([None], caption=" "), AnswersConfig(answers="diagnosis"), "1 times empty diagnosis"),
    ],
)
def test_rows_without_anything_to_learn(
    table: Callable[[], pa.Table], learn: AnswersConfig, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        survey(written(table(), tmp_path / "rows"), learn, "train", None)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    captioned = written(phantoms(2).drop_columns("pairs"), tmp_path / "rows")
    for answers, message in (("pairs", "has no pairs; run `dermray instruct`"), ("words", "column is not there"),
                             ("age", "column is no text")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            check_columns(AnswersConfig(answers=answers), captioned)
    check_columns(AnswersConfig(answers="caption"), captioned)
    check_columns(AnswersConfig(answers="attributes"), captioned)
    with pytest.raises(FileNotFoundError, match="no Parquet file"):
        check_columns(PAIRS, RowFiles(str(tmp_path / "nothing")))


def test_shards_hold_what_was_drawn_and_count_what_was_rejected(models: Callable[[str], Path], tmp_path: Path) -> None:
    table = instructed([[("What?", "A."), ("Which?", "B <image>.")], [("What?", "C.")], [("What?", "D.")]])
    table = table.set_column(
        table.schema.get_field_index("image"), table.schema.field("image"),
        pa.array([*table["image"].to_pylist()[:2], b"no image"], pa.binary()),
    )  # fmt: skip
    tokens = Tokens(base_of(models("nano")), 256, 32)
    ids, place = table["sample_id"].to_pylist(), tmp_path / "shards"
    place.mkdir()
    lines = write_shard(conversed(table, PAIRS, tokens, "train", None), str(place)).to_pylist()
    done = finish(str(place), lines, 32, 100)
    assert done.count == 2 and sum(done.rejected.values()) == 2
    assert "answer holds <image>, which only the model's chat template may write" in done.rejected
    shards = Conversations(str(place))
    everything = np.arange(2)
    assert shards.sample_ids(everything) == sorted([f"{ids[0]}/0", f"{ids[1]}/0"])
    assert {talk.turns for talk in shards.read(everything)} == {(("What?", "A."),), (("What?", "C."),)}
    batch = tokens.batch(shards.read(everything))
    assert shards.learned(everything) == int((batch["labels"] != -100).sum()) == done.learned
    assert shards.lengths(everything).sum() == int(batch["attention_mask"].sum()) == done.tokens
    one = conversed(table, PAIRS, tokens, "train", key_of(ids[1], 0))
    assert f"{ids[1]}/0" in one["sample_id"].to_pylist() and json.loads(lines[0]["rejected"]) == done.rejected
