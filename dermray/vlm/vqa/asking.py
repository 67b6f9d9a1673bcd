"""One pass: questions that lie in files, asked of one model, its answers written; a killed one goes on."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from dermray import storage
from dermray.captioning.cache import AnswerCache
from dermray.captioning.engine import Answer, Ask
from dermray.captioning.ledger import Ledger
from dermray.captioning.prepare import shown
from dermray.captioning.resume import require_each_once, resumable
from dermray.exactly_once import Ids
from dermray.page_index import write_options
from dermray.picked import FILE, take
from dermray.progress import rows_written, watched

ENGINES = ("CaptionEngine", "Client")  # what actors of vllm_engine.py and remote.py run
ID = "answer_id"


@dataclass(frozen=True)
class Place:
    """Where a pass keeps what it needs to go on."""

    data: str  # of the stage
    name: str

    @property
    def kept(self) -> str:
        """Removed when the stage is done."""
        return storage.join(self.data, "passes", self.name)

    @property
    def ledger(self) -> Ledger:
        """Of its engines."""
        return Ledger(storage.join(self.kept, "ledger"))

    @property
    def cache(self) -> AnswerCache:
        """Of answers that were paid for."""
        return AnswerCache(storage.join(self.kept, "answers"))

    @property
    def checkpoint(self) -> str:
        """Ids that are written."""
        return storage.join(self.kept, "checkpoint", "asked")


@dataclass(frozen=True)
class Pass:
    """What is asked of one model.

    Args:
        questions: directory of Parquet files with answer_id, sample_id, image_file and question.
        target: directory to write. finish: from an answered table to one of `schema`.
    """

    place: Place
    questions: str
    target: str
    answer: Answer
    ask: Ask
    finish: Callable[[pa.Table], pa.Table]
    schema: pa.Schema
    image_side: int

    def run(self, expected: int) -> None:
        """Ask what is not answered yet; Ray is connected.

        Raises:
            RuntimeError: an engine fails too often, or answers are missing or double.
        """
        with watched(rows_written(self.target, expected, ENGINES)):
            self._ask(expected)
        import ray

        asked, written = Ids(self.questions, (ID,)), Ids(self.target, (ID,))
        ray.get(ray.remote(require_each_once).remote(asked, written, [self.place.checkpoint]))

    def _ask(self, expected: int) -> None:
        import ray.data

        system, path = storage.filesystem(self.questions)
        to_system, to_path = storage.filesystem(self.target)
        with resumable(ID, self.place.checkpoint) as written:
            self.place.ledger.run_begun(written)
            if written:
                print(f"      {written} answers of {self.place.name} are written; going on", flush=True)
            if written == expected:  # no engine is started for nothing
                return
            self.ask.cache.collect(self.place.checkpoint, ID)
            rows = ray.data.read_parquet(path, filesystem=system)
            rows = rows.repartition(target_num_rows_per_block=self.ask.rows_per_block)
            rows = rows.map_batches(Show(self.image_side), batch_format="pyarrow", batch_size=None)
            done = self.answer(rows, self.ask).map_batches(self.finish, batch_format="pyarrow", batch_size=None)
            done.write_parquet(to_path, filesystem=to_system, mode="append", **write_options(self.schema))


class Show:
    """Before the engine: adds the encoded image that is `shown` (each once a block) and why one is `unreadable`."""

    def __init__(self, image_side: int) -> None:
        self.image_side = image_side

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with both columns; the same number of rows."""
        places: dict[str, int] = {}
        files = dict(zip(table["sample_id"].to_pylist(), table["image_file"].to_pylist(), strict=True))
        for sample in files:
            places[sample] = len(places)
        images = take(pa.table({"sample_id": list(files), FILE: list(files.values())}, schema=IMAGES)) if files else []
        looked = [shown(image, self.image_side) for image in images]
        mine = [looked[places[sample]] for sample in table["sample_id"].to_pylist()]
        table = table.append_column("shown", pa.array([image for image, _ in mine], pa.binary()))
        return table.append_column("unreadable", pa.array([reason for _, reason in mine], pa.string()))


IMAGES = pa.schema([("sample_id", pa.string()), (FILE, pa.string())])
