"""The second round over rows that the first one wrote, and both of them in one: `<data>/rows`.

    <data>/first/rows      what the first round wrote, whole rows
    <data>/second/rows     what the second one brought, without images (self_instruct.CANDIDATES)
    <data>/judged          the same with verdicts, in parts by the file in which an image's row lies
    <data>/rows            a file for each of the first round's, with the pairs of both

Every step goes on from what is there: rounds by Ray Data's checkpoints, later steps by files that are there when they
are whole and that come out the same again. Nothing that grows with rows is held, in the driver or elsewhere.
"""

import contextlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dermray import manifest, records, storage
from dermray.captioning import asking, choose
from dermray.captioning.asking import Asked, Round
from dermray.captioning.ledger import Ledger
from dermray.captioning.models import Captioner
from dermray.page_index import write_options
from dermray.picked import FILE
from dermray.progress import busy, files_written, watched
from dermray.records import IMAGES, INSTRUCTED
from dermray.row_files import RowFiles
from dermray.tasks import each_in_ray
from dermray.vlm.instruct import prompt, self_instruct
from dermray.vlm.instruct.finish import row_status
from dermray.vlm.instruct.self_instruct import CANDIDATES, SelfInstructConfig
from dermray.vlm.instruct.settings import InstructConfig
from dermray.vlm.instruct.similarity import revision_of, similarity
from dermray.vlm.instruct.taken import Taken, asked_before, in_order
from dermray.whole_file import whole_file

FIRST, SECOND, JUDGED, COUNTS = "first", "second", "judged", "counts.json"
FILES_PER_PART = 64  # whose rows a Ray task puts together, one file after the other
MOST_PARTS = 256  # files that are written at once
ROWS_PER_GROUP = 2000
SUMS = {"tokens_in": "tokens_in", "tokens_out": "tokens_out", "attempts": "requests"}  # of rows, by candidates'


@dataclass(frozen=True)
class Chosen:
    """Filter of the rows that are asked again: usable ones, all or those with small ids."""

    below: str | None

    def __call__(self, status: Any) -> Any:
        """Over pyarrow's or Ray Data's column, as `Asked.wanted` has it."""
        if self.below is None:
            return status == "ok"
        if isinstance(status, pc.Expression):
            return (status == "ok") & (pc.field("sample_id") < self.below)
        from ray.data.expressions import col

        return (status == "ok") & (col("sample_id") < self.below)


def identity(config: SelfInstructConfig) -> dict[str, str]:
    """What the round's outcome depends on beside its settings; looks at the embedding's files."""
    return {
        "self_instruct_version": self_instruct.version(config),
        "embedding_revision": str(revision_of(config.similarity)),
    }


def run(work: manifest.Work, captioner: Captioner, config: InstructConfig) -> dict[str, Any]:
    """Ask again, judge what came over the whole set, and write the rows; how many questions were asked and taken.

    Raises:
        ValueError, ConnectionError, RuntimeError: as `asking.ask` does.
    """
    assert config.self_instruct is not None
    round_two, first = config.self_instruct, storage.join(work.data, FIRST, "rows")
    usable = records.count_rows(first, pc.field("status") == "ok")
    if usable:
        _ask(work.data, captioner, config, _chosen(round_two, usable))
    kept = work.kept.row_files() if work.kept else None
    counts = _judge(work.data, round_two, kept)
    _merge(work.data, first, round_two)
    return counts | {"similarity": _told(round_two)}


def _chosen(config: SelfInstructConfig, usable: int) -> Chosen:
    if config.images is None or config.images >= usable:
        return Chosen(None)
    return Chosen(f"{int(config.images / usable * 16**8):08x}")


def _ask(data: str, captioner: Captioner, config: InstructConfig, chosen: Chosen) -> None:
    first, second = storage.join(data, FIRST, "rows"), storage.join(data, SECOND)
    columns = [*(name for name in IMAGES.names if name != "image"), "pairs"]  # none that an answer has too
    answer = choose.prepared(captioner.model, config.host.model_copy(update=captioner.settings))
    ledger = Ledger(storage.join(second, "ledger"))
    asking.each_once(
        Asked(first, chosen, columns), second, captioner, answer, ledger, _round(config), config,
        records.count_rows(first, chosen(pc.field("status"))),
    )  # fmt: skip


def _round(config: InstructConfig) -> Round:
    assert config.self_instruct is not None
    asked, most = config.self_instruct, config.most_characters
    measure = similarity(asked.similarity, revision_of(asked.similarity))
    return Round(
        self_instruct.Prepare(config.context, asked, config.image_side),
        prompt.schema(self_instruct.keys_of(asked), most),
        self_instruct.Finish(config.context, asked, config.near_duplicate, most, measure),
        CANDIDATES,
        "asked a second time",
    )


def _told(config: SelfInstructConfig) -> str:
    kind = config.similarity.embedding or "MinHash"
    return f"{kind}, from {similarity(config.similarity).threshold:g} on"


def _judge(data: str, config: SelfInstructConfig, kept: RowFiles | None) -> dict[str, Any]:
    """In one Ray task, in the order of ids."""
    counts = storage.join(data, JUDGED, COUNTS)
    if not storage.exists(counts):
        import ray

        files = len(storage.list_files(storage.join(data, FIRST, "rows"), ".parquet"))
        parts = min(MOST_PARTS, -(-files // FILES_PER_PART))
        with watched(busy("judging new questions")):
            ray.get(ray.remote(_judged).remote(data, config, kept, max(1, parts)))
    told: dict[str, Any] = json.loads(storage.read_bytes(counts))
    return told


def _judged(data: str, config: SelfInstructConfig, kept: RowFiles | None, parts: int) -> None:
    measure = similarity(config.similarity, revision_of(config.similarity))
    taken = Taken(measure, [*self_instruct.seeds(config), *asked_before(kept)], config.most_questions)
    with _parts(data, parts) as write:
        for row in in_order(storage.join(data, SECOND, "rows"), CANDIDATES.names):
            write(taken.row(row))
    said = dict(taken.counts) | {"parts": parts}
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

        def write(row: dict[str, Any]) -> None:
            part = _part_of(row[FILE], number)
            held[part].append(row)
            if len(held[part]) == ROWS_PER_GROUP:
                flush(part)

        yield write
        for part in range(number):
            flush(part)


def _part(data: str, part: int) -> str:
    return storage.join(data, JUDGED, f"{part:05d}.parquet")


def _part_of(file: str, number: int) -> int:
    return zlib.crc32(_name(file).encode()) % number


def _name(file: str) -> str:
    return file.rpartition("/")[2]


def _merge(data: str, first: str, config: SelfInstructConfig) -> None:
    """Each part in a Ray task; every file of the first round becomes one of the same name."""
    counts = json.loads(storage.read_bytes(storage.join(data, JUDGED, COUNTS)))
    parts, target = range(counts["parts"]), storage.join(data, "rows")
    storage.make_directory(target)
    name = f"{self_instruct.KIND}@{self_instruct.version(config)}"
    total = len(storage.list_files(first, ".parquet"))
    with watched(files_written(target, ".parquet", "files of both rounds written", total)):
        for _ in each_in_ray(_merged, parts, data, first, counts["parts"], name):
            pass


def _merged(part: int, data: str, first: str, number: int, name: str) -> None:
    """The files of one part. To be called in a Ray task."""
    there = {_name(file) for file in storage.list_files(storage.join(data, "rows"), ".parquet")}
    files = [file for file in storage.list_files(first, ".parquet") if _part_of(file, number) == part]
    missing = [file for file in files if _name(file) not in there]
    if not missing:
        return
    with storage.open_parquet(_part(data, part)) as parquet:
        brought = parquet.read()
    names = [_name(file) for file in brought[FILE].to_pylist()]
    brought = brought.set_column(brought.schema.get_field_index(FILE), FILE, pa.array(names, pa.string()))
    for file in missing:
        rows = brought.filter(pc.field(FILE) == _name(file)).to_pylist()
        _merge_file(file, storage.join(data, "rows", _name(file)), {row["sample_id"]: row for row in rows}, name)


def _merge_file(source: str, target: str, brought: dict[str, dict[str, Any]], name: str) -> None:
    from pyarrow import parquet

    with storage.open_parquet(source) as file:
        table = file.read()
    rows = [together(row, brought.get(row["sample_id"]), name) for row in table.drop_columns("image").to_pylist()]
    schema = pa.schema([field for field in INSTRUCTED if field.name != "image"])
    merged = records.conform(rows, schema)
    whole = merged.add_column(0, INSTRUCTED.field("image"), table["image"]).select(INSTRUCTED.names)
    with whole_file(target) as sink, parquet.ParquetWriter(sink, INSTRUCTED, **write_options(INSTRUCTED)) as writer:
        writer.write_table(whole)


def together(row: dict[str, Any], brought: dict[str, Any] | None, name_of_prompt: str) -> dict[str, Any]:
    """A row of the first round with what the second brought.

    Args:
        brought: of CANDIDATES, judged; None where the row was not asked about again.
    """
    if brought is None:
        return row
    pairs = (row["pairs"] or []) + brought["pairs"]
    sums = {name: _sum(row[name], brought[source]) for name, source in SUMS.items()}
    answer = "\n\n".join(text for text in (row["answer"], brought["answer"]) if text)
    told = {"pairs": pairs, "answer": answer, "prompt_set": f"{row['prompt_set']} {name_of_prompt}"}
    return row | sums | told | row_status(pairs)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


def remove(data: str) -> None:
    """What the rounds left, once the result is there."""
    for left in (FIRST, SECOND, JUDGED):
        storage.delete_tree(storage.join(data, left))
