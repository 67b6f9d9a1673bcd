"""What can only be judged over the whole set, and the rows written with it: new questions unlike all before them, and
pairs that many images have in common.

    <data>/first/rows      what the first round wrote, whole rows
    <data>/second/rows     what the second one brought, if there is one
    <data>/judged          the same with verdicts, in parts by the file in which an image's row lies
    <data>/rows            a file for each of the first round's, with the pairs of both

A killed job goes on: files that are there are whole, and they come out the same again. The driver holds nothing that
grows with rows.
"""

import contextlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray import manifest, node_cache, records, storage
from dermray.page_index import write_options
from dermray.progress import busy, files_written, watched
from dermray.records import INSTRUCTED
from dermray.row_files import RowFiles
from dermray.tasks import each_in_ray
from dermray.vlm.instruct import repeated, self_instruct
from dermray.vlm.instruct.finish import row_status
from dermray.vlm.instruct.self_instruct import CANDIDATES
from dermray.vlm.instruct.settings import InstructConfig
from dermray.vlm.instruct.similarity import revision_of, similarity
from dermray.vlm.instruct.taken import Taken, asked_before, in_order
from dermray.whole_file import whole_file

FIRST, SECOND, JUDGED = "first", "second", "judged"
TEMPORARY = tuple(f"{name}/" for name in (FIRST, SECOND, JUDGED))  # what the rounds leave
COUNTS, EQUAL = "counts.json", "equal.npy"
FILES_PER_PART = 64  # whose rows a Ray task puts together, one file after the other
MOST_PARTS = 64  # files that are written at once: in S3 each holds 16 MiB
ROWS_PER_GROUP = 2000
SUMS = {"tokens_in": "tokens_in", "tokens_out": "tokens_out", "attempts": "requests"}  # of rows, by candidates'


def write(work: manifest.Work, config: InstructConfig) -> dict[str, Any]:
    """Judge what both rounds brought and write `<data>/rows`; how many new questions came and were taken, and how many
    equal pairs were rejected."""
    kept = work.kept.row_files() if work.kept else None
    counts = _judge(work.data, config, kept)
    target, first = storage.join(work.data, "rows"), storage.join(work.data, FIRST, "rows")
    storage.make_directory(target)
    total, parts = len(storage.list_files(first, ".parquet")), counts.pop("parts")
    with watched(files_written(target, ".parquet", "files with all pairs written", total)):
        for _ in each_in_ray(_merged, range(parts), work.data, parts, _name_of_prompt(config)):
            pass
    return counts


def _name_of_prompt(config: InstructConfig) -> str:
    if config.self_instruct is None:
        return ""
    return f"{self_instruct.KIND}@{self_instruct.version(config.self_instruct)}"


def _judge(data: str, config: InstructConfig, kept: RowFiles | None) -> dict[str, Any]:
    """In one Ray task, new questions in the order of ids."""
    counts = storage.join(data, JUDGED, COUNTS)
    if not storage.exists(counts):
        import ray

        files = len(storage.list_files(storage.join(data, FIRST, "rows"), ".parquet"))
        parts = min(MOST_PARTS, -(-files // FILES_PER_PART))
        with watched(busy("judging over the whole set")):
            ray.get(ray.remote(_judged).remote(data, config, kept, max(1, parts)))
    told: dict[str, Any] = json.loads(storage.read_bytes(counts))
    return told


def _judged(data: str, config: InstructConfig, kept: RowFiles | None, parts: int) -> None:
    said: dict[str, Any] = {"parts": parts}
    with _parts(data, parts) as put:
        if config.self_instruct is not None:
            asked = config.self_instruct
            measure = similarity(asked.similarity, revision_of(asked.similarity))
            taken = Taken(measure, [*self_instruct.seeds(asked), *asked_before(kept)], asked.most_questions)
            for row in in_order(storage.join(data, SECOND, "rows"), CANDIDATES.names):
                put(taken.row(row))
            how = asked.similarity.embedding or "MinHash"
            said |= taken.counts | {"similarity": f"{how}, from {measure.threshold:g} on"}
    if config.most_equal_pairs is not None:
        equal = repeated.beyond(storage.join(data, FIRST, "rows"), config.most_equal_pairs)
        with whole_file(storage.join(data, JUDGED, EQUAL)) as file:
            np.save(file, equal)
        said["equal_pairs_rejected"] = len(equal)
    storage.write_bytes(storage.join(data, JUDGED, COUNTS), json.dumps(said).encode())


@contextlib.contextmanager
def _parts(data: str, number: int) -> Iterator[Any]:
    """A function that writes a row of CANDIDATES to the part of its file."""
    from pyarrow import parquet

    schema = pa.schema([field for field in CANDIDATES if field.name != "features"])
    with contextlib.ExitStack() as stack:
        wholes = [stack.enter_context(whole_file(_part(data, part))) for part in range(number)]
        writers = [stack.enter_context(parquet.ParquetWriter(whole, schema)) for whole in wholes]
        held: list[list[dict[str, Any]]] = [[] for _ in range(number)]

        def flush(part: int) -> None:
            writers[part].write_table(pa.Table.from_pylist(held[part], schema))
            held[part] = []

        def put(row: dict[str, Any]) -> None:
            part = _part_of(row["file"], number)
            held[part].append(row)
            if len(held[part]) == ROWS_PER_GROUP:
                flush(part)

        yield put
        for part in range(number):
            flush(part)


def _part(data: str, part: int) -> str:
    return storage.join(data, JUDGED, f"{part:05d}.parquet")


def _part_of(name: str, number: int) -> int:
    return zlib.crc32(name.encode()) % number


def _merged(part: int, data: str, number: int, name_of_prompt: str) -> None:
    """The files of one part that are not there yet. To be called in a Ray task."""
    there = {_name(file) for file in storage.list_files(storage.join(data, "rows"), ".parquet")}
    first = storage.list_files(storage.join(data, FIRST, "rows"), ".parquet")
    missing = [file for file in first if _part_of(_name(file), number) == part and _name(file) not in there]
    if not missing:
        return
    with storage.open_parquet(_part(data, part)) as parquet:
        brought = parquet.read()
    equal, names = storage.join(data, JUDGED, EQUAL), np.empty(0, np.uint64)
    if storage.exists(equal):
        names = np.load(node_cache.local_file(equal), mmap_mode="r")
    for file in missing:
        found = brought.filter(pc.field("file") == _name(file)).to_pylist()
        rows = {row["sample_id"]: row for row in found}
        _write(file, storage.join(data, "rows", _name(file)), rows, names, name_of_prompt)


def _name(file: str) -> str:
    return file.rpartition("/")[2]


def _write(
    source: str, target: str, brought: dict[str, dict[str, Any]], equal: np.ndarray, name_of_prompt: str
) -> None:
    """A file of the first round, with what came after it."""
    from pyarrow import parquet

    with storage.open_parquet(source) as file:
        table = file.read()
    rows = []
    for row in table.drop_columns("image").to_pylist():
        pairs = repeated.rejects(equal, row)
        rows.append(together(row, pairs, brought.get(row["sample_id"]), name_of_prompt))
    merged = records.conform(rows, pa.schema([field for field in INSTRUCTED if field.name != "image"]))
    whole = merged.append_column(INSTRUCTED.field("image"), table["image"]).select(INSTRUCTED.names)
    with whole_file(target) as sink, parquet.ParquetWriter(sink, INSTRUCTED, **write_options(INSTRUCTED)) as writer:
        writer.write_table(whole)


def together(
    row: dict[str, Any], pairs: list[dict[str, Any]], brought: dict[str, Any] | None, name_of_prompt: str
) -> dict[str, Any]:
    """A row of the first round with its pairs, judged, and what the second round brought.

    Args:
        brought: of CANDIDATES, judged; None where the row was not asked about again.
    """
    if brought is None:
        return row | {"pairs": pairs} | row_status(pairs) if row["status"] == "ok" else row
    sums = {name: _sum(row[name], brought[source]) for name, source in SUMS.items()}
    answer = "\n\n".join(text for text in (row["answer"], brought["answer"]) if text)
    pairs = [*pairs, *brought["pairs"]]
    told = {"pairs": pairs, "answer": answer, "prompt_set": f"{row['prompt_set']} {name_of_prompt}"}
    return row | sums | told | row_status(pairs)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)
