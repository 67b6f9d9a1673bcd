"""Several captions of an image, of which each epoch shows one: those of several captioners or prompts, or the answers
of prompt set clinical-qa one by one.

The rows' own caption stays where it is; the others lie beside it, in a column `more` of the shards.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.config import ConfigError
from dermray.manifest import Result
from dermray.records import read_columns

COLUMNS = ["sample_id", "caption", "pairs"]
ID = "S64"  # a SHA-256 in hex


@dataclass(frozen=True)
class MoreCaptions:
    """Captions beside those of the rows. Its arrays are shared by the workers of a node, not copied.

    Args:
        ids: (N,) of ID, in order. captions: lists of texts, (N,).
    """

    ids: np.ndarray
    captions: pa.Array

    def of(self, samples: list[str], first: list[str]) -> list[list[str]]:
        """Each image's captions beside its first, each text once."""
        wanted = np.array(samples, ID)
        places = np.minimum(self.ids.searchsorted(wanted), len(self.ids) - 1)
        found = self.ids[places] == wanted
        pairs = zip(places.tolist(), found.tolist(), first, strict=True)
        texts = [(self.captions[place].as_py() if there else [], own) for place, there, own in pairs]
        return [[text for text in dict.fromkeys(more) if text != own] for more, own in texts]


def more_captions(rows: Result, others: list[Result], answers_apart: bool) -> MoreCaptions | None:
    """Of the train split; None where nothing was asked for.

    Args:
        rows: whose captions come first. others: caption results of the same images. answers_apart: further answers of a
            row are captions of their own.

    Raises:
        ConfigError: a result has no caption of these images, or no row has several answers.
    """
    if not others and not answers_apart:
        return None
    usable = (pc.field("status") == "ok") & (pc.field("split") == "train")
    read = [read_columns(result.row_files(), COLUMNS, usable) for result in (rows, *others)]
    ours = set(read[0]["sample_id"].to_pylist())
    for result, table in zip(others, read[1:], strict=True):
        if ours.isdisjoint(table["sample_id"].to_pylist()):
            raise ConfigError(
                f"captions: {result.uri} has no usable caption of an image that {rows.uri} trains on; give results of "
                "the caption stage that were made from the same ingest"
            )
    parts = [apart(table) for table in read] if answers_apart else []
    if answers_apart and not any(map(len, parts)):
        raise ConfigError(
            "answers_apart=true: no row has several answers, which prompt set clinical-qa alone gives; leave it out"
        )
    plain = [table.select(["sample_id", "caption"]) for table in read[1:]]
    every = pa.concat_tables([*plain, *parts]).combine_chunks()
    lists = every.group_by("sample_id", use_threads=False).aggregate([("caption", "list")]).sort_by("sample_id")
    captions = lists["caption_list"].combine_chunks()
    return MoreCaptions(np.array(lists["sample_id"].to_pylist(), ID), captions)


def apart(rows: pa.Table) -> pa.Table:
    """The further answers as captions: after what the caption says of the metadata."""
    texts = [(row["sample_id"], text) for row in rows.to_pylist() for text in _answers(row)]
    ids, captions = zip(*texts, strict=True) if texts else ((), ())
    return pa.table({"sample_id": pa.array(ids, pa.string()), "caption": pa.array(captions, pa.string())})


def _answers(row: dict[str, Any]) -> list[str]:
    """All but the first, which is in the caption already."""
    pairs: list[dict[str, str]] = row["pairs"] or []
    before = row["caption"].removesuffix(pairs[0]["answer"]) if pairs else ""
    return [("" if before == row["caption"] else before) + pair["answer"] for pair in pairs[1:]]


def texts_of(shard: pa.Table) -> Iterator[str]:
    """All captions of a shard, or of rows of the caption stage."""
    more = shard["more"].to_pylist() if "more" in shard.column_names else [[]] * len(shard)
    for first, others in zip(shard["caption"].to_pylist(), more, strict=True):
        yield from (first, *others)


def counted(shards: Iterator[pa.Table]) -> dict[int, int]:
    """Images by the number of their captions."""
    numbers = Counter[int]()
    for shard in shards:
        numbers.update(1 + len(more) for more in shard["more"].to_pylist())
    return dict(sorted(numbers.items()))


def choose(seed: int, number: int, epoch: int, count: int) -> int:
    """Which of `count` captions an image shows in an epoch: each once in `count` epochs, in an order drawn anew for
    each image and turn. A function of these numbers alone, so a training that was interrupted draws the same.

    Args:
        number: of the image in its bucket.
    """
    turn, place = divmod(epoch, count)
    return int(np.random.default_rng((seed, number, turn, 2)).permutation(count)[place])
