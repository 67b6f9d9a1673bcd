"""What rows have to learn from: looked at once, without images, before anything is started."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dermray import manifest, storage
from dermray.manifest import Result
from dermray.records import IMAGES
from dermray.row_files import RowFiles
from dermray.vlm.tuning.conversations import ATTRIBUTES, PAIRS, AnswersConfig, Unusable, conversations_of

# What a prompt may tell of a row: all but its pixels. `sample_id`, `status` and `split` are among them.
KNOWN = [name for name in IMAGES.names if name != "image"]
NO_IMAGE = "no image"
UNSEEN = b"?"  # for an image that is not read
STAGES = ("instruct", "caption", "ingest")  # whose rows can be learned from


def find_rows(rows: str, learn: AnswersConfig) -> Result:
    """A result whose rows have what is to be learned.

    Raises:
        ValueError: of another stage, or see `check_columns`. FileNotFoundError: no result there, or no row.
    """
    found = manifest.read(rows)
    if found.manifest.stage not in STAGES:
        raise ValueError(f"rows={rows}: result of stage {found.manifest.stage!r}, expected one of {STAGES}")
    check_columns(learn, found.row_files())
    return found


def check_columns(learn: AnswersConfig, rows: RowFiles) -> None:
    """Whether rows have what is to be learned.

    Raises:
        ValueError: no such column, or it holds no text. FileNotFoundError: no row.
    """
    schema = _schema(rows)
    if "image" not in schema.names:
        raise ValueError(f"{rows}: rows without images; expected a result of ingest, caption or instruct")
    texts = [field.name for field in schema if _is_text(field.type)]
    if learn.answers == PAIRS:
        if PAIRS not in schema.names:
            raise ValueError(
                f"learn.answers=pairs: {rows} has no pairs; run `dermray instruct`, or `caption` with "
                f"prompt_set=clinical-qa, or name what holds the answers: attributes, or one of {texts}"
            )
    elif learn.answers != ATTRIBUTES and learn.answers not in texts:
        what = "is no text" if learn.answers in schema.names else "is not there"
        raise ValueError(f"learn.answers={learn.answers}: this column {what}; expected pairs, attributes or {texts}")


def columns(learn: AnswersConfig) -> list[str]:
    """That are read of a row, beside its image."""
    return list(dict.fromkeys([*KNOWN, *learn.columns]))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _schema(rows: RowFiles) -> pa.Schema:
    files = rows.files()
    if not files:
        raise FileNotFoundError(f"{rows}: no Parquet file there; make the result again")
    with storage.open_parquet(files[0]) as parquet:
        return parquet.schema_arrow


@dataclass(frozen=True)
class Survey:
    """What the rows of a split hold, and which of it is trained on."""

    usable: int  # conversations
    drawn: int  # of these, at most `samples`
    most: int | None  # the largest key of those drawn; all, if None
    lacking: Counter[str]  # rows that lack something, by reason


def survey(rows: RowFiles, learn: AnswersConfig, split: str, samples: int | None) -> Survey:
    """Reads all but the images once; of each conversation 8 bytes are held where `samples` are drawn.

    Raises:
        ValueError: nothing to learn from; names the reasons.
    """
    keys, usable, lacking = list[np.ndarray](), 0, Counter[str]()
    where = (pc.field("status") == "ok") & (pc.field("split") == split)
    for scanner in rows.scanners(columns(learn), where):
        for batch in scanner.to_batches():
            found = list[int]()
            for row in batch.to_pylist():
                try:
                    count = len(conversations_of(row | {"image": UNSEEN}, learn))
                except Unusable as error:
                    lacking[str(error)] += 1
                    continue
                usable += count
                if samples is not None:
                    found += [key_of(row["sample_id"], number) for number in range(count)]
            keys.append(np.array(found, np.uint64))
    if missing := missing_images(rows, split):
        lacking[NO_IMAGE] += missing
    if not usable or (missing and missing >= usable):
        told = ", ".join(f"{count} times {reason}" for reason, count in lacking.most_common()) or "no row"
        raise ValueError(
            f"{rows}: nothing to learn from in the {split} split ({told}); expected rows with an image and "
            f"{learn.answers}: see `dermray describe`, or change learn.answers"
        )
    if samples is None or usable <= samples:
        return Survey(usable, usable, None, lacking)
    most = int(np.partition(np.concatenate(keys), samples - 1)[samples - 1])
    return Survey(usable, samples, most, lacking)


def key_of(sample_id: str, number: int) -> int:
    """64 bits by which conversations are drawn: those with the least, wherever their rows lie."""
    digest = hashlib.blake2b(f"{sample_id}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def missing_images(rows: RowFiles, split: str) -> int:
    """Usable rows of a split without an image. Footers say where there may be some; elsewhere no image is read."""
    return sum(_missing(file, split) for file in rows.files())


def _missing(file: str, split: str) -> int:
    with storage.open_parquet(file) as parquet:
        groups = [group for group in range(parquet.num_row_groups) if _may_miss(parquet.metadata.row_group(group))]
        if not groups:
            return 0
        wanted = (pc.field("status") == "ok") & (pc.field("split") == split) & pc.field("image").is_null()
        batches: Iterator[pa.RecordBatch] = parquet.iter_batches(64, groups, ["status", "split", "image"])
        return sum(pa.Table.from_batches([batch]).filter(wanted).num_rows for batch in batches)


def _may_miss(group: pq.RowGroupMetaData) -> bool:
    columns = (group.column(number) for number in range(group.num_columns))
    statistics = next(column.statistics for column in columns if column.path_in_schema == "image")
    return statistics is None or not statistics.has_null_count or statistics.null_count > 0
