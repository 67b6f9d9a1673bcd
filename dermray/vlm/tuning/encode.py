"""Conversations out of rows, once, in Ray Data, into shards that workers map into memory.

A shard is an uncompressed Arrow file of (sample_id, image, questions, answers, text, ids, labels, tokens, learned):
the image as small as the model needs it, still encoded; the text in the model's template and its tokens; how many
tokens the conversation has in a batch, and of these how many are learned. `index.json` beside them is written last.
The layout is that of generators' images (training.encode).
"""

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather
from torch import Tensor

from dermray import storage
from dermray.captioning.prepare import shown
from dermray.progress import files_written, watched
from dermray.records import kind
from dermray.row_files import RowFiles
from dermray.training.encode import SHARD_BYTES, WINDOW, mixed, write_index
from dermray.vlm.tuning.base import Base
from dermray.vlm.tuning.collate import Collator
from dermray.vlm.tuning.conversations import AnswersConfig, Conversation, Unusable, conversations_of
from dermray.vlm.tuning.packing import packed
from dermray.vlm.tuning.survey import NO_IMAGE, UNSEEN, columns, key_of

WRITTEN = "written.json"  # last, beside the index
NUMBERS = re.compile(r"\d+ (?=tokens|x|px)")
TOGETHER = 16  # rows at a time: each has an image
ENCODED = pa.schema(
    [
        ("sample_id", pa.string()),  # of the row, and the conversation's number in it
        ("image", pa.binary()),
        ("questions", pa.list_(pa.string())),
        ("answers", pa.list_(pa.string())),
        ("text", pa.string()),  # of conversations.Tokenised, as are ids and labels
        ("ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("tokens", pa.int32()),
        ("learned", pa.int32()),
        ("reason", pa.string()),  # why it cannot be trained on
    ]
)
LINE = pa.schema(
    [("file", pa.string()), ("rows", pa.int64()), ("rejected", pa.string()), ("tokens", pa.int64()),
     ("learned", pa.int64())]
)  # fmt: skip


@dataclass(frozen=True)
class Tokens:
    """How conversations become batches. It travels to Ray's tasks and workers."""

    base: Base
    max_length: int
    image_side: int
    template: tuple[tuple[str, Any], ...] = ()
    packing: bool = False

    def batch(self, conversations: list[Conversation]) -> dict[str, Tensor]:
        """What the model's forward takes, and labels."""
        made = self.collator()(conversations)
        return packed(made) if self.packing else made

    def collator(self) -> Collator:
        """The same object for the same settings, as making one takes a second."""
        return _collator(self)


@lru_cache(maxsize=1)
def _collator(tokens: Tokens) -> Collator:
    return Collator(tokens.base.processor(), tokens.max_length, tokens.image_side, dict(tokens.template))


@dataclass(frozen=True)
class Written:
    """What `encode` wrote."""

    count: int  # conversations
    tokens: int  # of all of them
    learned: int  # of these tokens
    rejected: dict[str, int]  # conversations, by reason


def encode(rows: RowFiles, target: str, learn: AnswersConfig, tokens: Tokens, split: str, most: int | None) -> Written:
    """The conversations of a split to shards in `target`. Done once: what was written is the answer.

    Args:
        most: largest key of conversations that were drawn; all, if None.

    Raises:
        ValueError: no conversation is left.
    """
    note = storage.join(target, WRITTEN)
    if storage.exists(note):
        return Written(**json.loads(storage.read_bytes(note)))
    storage.delete_tree(target)
    storage.make_directory(target)
    data = rows.usable_in_ray(["image", *columns(learn)], order=mixed)
    data.context.execution_options.preserve_order = True
    read = data.map_batches(
        conversed, fn_args=(learn, tokens, split, most), batch_format="pyarrow", batch_size=TOGETHER,
        zero_copy_batch=True,
    )  # fmt: skip
    # a JPEG or PNG takes less than a byte a pixel, mostly a third of it
    block = max(1, SHARD_BYTES // (tokens.image_side * tokens.image_side))
    shards = read.repartition(target_num_rows_per_block=block, strict=True).map_batches(
        write_shard, fn_args=(target,), batch_format="pyarrow", batch_size=None, zero_copy_batch=True
    )
    with watched(files_written(target, ".arrow", "shards written")):
        listed = shards.take_all()  # one line a shard
    written = finish(target, listed, tokens.image_side, WINDOW * block)
    if not written.count:
        told = ", ".join(f"{count} times {reason}" for reason, count in written.rejected.items())
        raise ValueError(f"{rows}: no conversation of the {split} split can be trained on ({told})")
    storage.write_bytes(note, json.dumps(asdict(written)).encode())
    return written


def finish(target: str, listed: list[dict[str, Any]], image_side: int, window: int) -> Written:
    """The index of shards, out of the lines of `write_shard`."""
    rejected = Counter[str]()
    for line in listed:
        rejected.update(json.loads(line["rejected"]))
    good = [line for line in listed if line["file"]]
    write_index(target, image_side, {line["file"]: line["rows"] for line in good}, window)
    total = lambda name: sum(line[name] for line in good)  # noqa: E731
    return Written(total("rows"), total("tokens"), total("learned"), dict(rejected))


def conversed(table: pa.Table, learn: AnswersConfig, tokens: Tokens, split: str, most: int | None) -> pa.Table:
    """The conversations of rows that are of a split and drawn, as ENCODED says."""
    collator, made = tokens.collator(), list[dict[str, Any]]()
    for row in table.to_pylist():
        if row["split"] != split:
            continue
        try:
            conversations = conversations_of(row | {"image": row["image"] or UNSEEN}, learn)
        except Unusable:
            continue  # counted by the survey
        drawn = [n for n in range(len(conversations)) if most is None or key_of(row["sample_id"], n) <= most]
        image, reason = (None, NO_IMAGE) if not row["image"] or not drawn else shown(row["image"], tokens.image_side)
        for number in drawn:
            line: dict[str, Any] = {"sample_id": f"{row['sample_id']}/{number}", "reason": reason}
            if image is not None:
                line |= _line(replace(conversations[number], image=image), collator)
            made.append(line)
    return pa.Table.from_pylist(made, ENCODED)


def _line(conversation: Conversation, collator: Collator) -> dict[str, Any]:
    if reason := collator.problem(conversation):
        return {"reason": NUMBERS.sub("N", reason)}  # so that counts are by kind
    conversation = collator.tokenised(conversation)
    assert conversation.tokenised is not None
    size, learned = collator.measure(conversation)
    questions, answers = map(list, zip(*conversation.turns, strict=True))
    line = {"image": conversation.image, "questions": questions, "answers": answers, "tokens": size, "learned": learned}
    return line | conversation.tokenised._asdict()


def write_shard(table: pa.Table, target: str) -> pa.Table:
    """A block to one shard, where it has good conversations. One line about it."""
    reasons = Counter(kind(reason) for reason in table["reason"].drop_null().to_pylist())
    good = table.filter(pc.is_null(table["reason"]))
    line: dict[str, Any] = {"file": None, "rows": len(good), "rejected": json.dumps(reasons)}
    line |= {name: pc.sum(good[name]).as_py() or 0 for name in ("tokens", "learned")}
    if len(good):
        content = json.dumps([good[name].to_pylist() for name in ("sample_id", "questions", "answers")])
        line["file"] = hashlib.sha256(content.encode()).hexdigest()[:20] + ".arrow"
        sink = pa.BufferOutputStream()
        whole = good.drop_columns("reason").combine_chunks()
        feather.write_feather(whole, sink, compression="uncompressed", chunksize=len(whole))
        storage.write_bytes(storage.join(target, line["file"]), memoryview(sink.getvalue()))
    return pa.Table.from_pylist([line], LINE)
