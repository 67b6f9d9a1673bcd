"""What reads a column of all rows holds at most 24 bytes a row: peak memory, by the kernel, at n and at 8 n rows.

Not here, and why:
    what Ray Data runs (`_look_at`, `Prepare`, `Finish`, `_Draw`, `write_shards`, `_count`): blocks, one at a time
    `datasets.ingest._assign`: groups and near duplicates need all keys; see `datasets.assignment` for what it gives out
    `generators.coverage`, `captioning.audit` but for `attribute_accuracy`: samples of a size that the config sets
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dermray import progress, records
from dermray.captioning import cache, resume, summary, written
from dermray.captioning.accuracy import attribute_accuracy
from dermray.datasets import counts, leaks, survey
from dermray.describe.chosen import PER_REASON, choose
from dermray.describe.counts import count
from dermray.exactly_once import Ids, difference
from dermray.picked import pick
from dermray.records import SYNTHETIC
from tests.fresh_processes import fresh_processes

ROWS_PER_FILE = 256  # a block of captions: what is kept of a file is felt as what is kept of so few rows
ROWS, TIMES = 256 * ROWS_PER_FILE, 8  # more files than are read at once, also of the fewer rows
BYTES_A_ROW = 24  # an id as text takes 64 and more; 14.5 is the most that was measured, and a heap has its noise
NAME, ID = ("source", "source_id"), ("sample_id",)
OK = pc.field("status") == "ok"


def write(folder: Path, rows: int) -> None:
    """Metadata alone, and a checkpoint. Ids, patients and lesions are as many as rows, a tenth of them failed."""
    asked = folder.with_name(f"{folder.name}-asked")
    for directory in (folder, asked):
        directory.mkdir(parents=True)
    rng, number = np.random.default_rng(0), ROWS_PER_FILE
    failed = [i % 10 == 0 for i in range(number)]
    same: dict[str, list[Any]] = {
        "source": ["clinic"] * number,
        "status": ["failed" if bad else "ok" for bad in failed],
        "split": [None if bad else "test" for bad in failed],
        "skin_tone": ["A", "B"] * (number // 2),
        "true_asymmetry": [True] * number,
        "true_colours": [["red", "black"]] * number,
        "said_colours": [["red"]] * number,
        "attempts": [1] * number,
        "tokens_in": [300] * number,
        "tokens_out": [40] * number,
        "nearest_distance": [0.25] * number,
    }
    table = pa.table({f.name: pa.array(same.get(f.name, [None] * number), f.type) for f in SYNTHETIC}, SYNTHETIC)
    for start in range(0, rows, number):
        names = [f"clinic/patient {i}" for i in range(start, start + number)]
        own = {
            "sample_id": [rng.bytes(32).hex() for _ in names],
            "source_id": [f"folder/ISIC_{i:09}.jpg" for i in range(start, start + number)],
            "reason": [f"gone @ t.csv line {start + i}" if bad else None for i, bad in enumerate(failed)],
            "patient_id": names,
            "lesion_id": names,
        }
        part = table
        for name, values in own.items():
            part = part.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.string()))
        pq.write_table(part, folder / f"{start:09}.parquet")
        pq.write_table(part.select(["sample_id"]), asked / f"{start:09}.parquet")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Directories of rows, by how many these are."""
    root = tmp_path_factory.mktemp("flat")
    for times in (1, TIMES):
        write(root / str(times), times * ROWS)
    return {times * ROWS: str(root / str(times)) for times in (1, TIMES)}


def each_once(uri: str) -> None:
    assert difference(Ids(uri, NAME), Ids(uri, NAME)) is None


def a_tenth_lost(uri: str) -> None:
    """Checkpoints are made anew."""
    with pytest.raises(RuntimeError, match="[1-9] of [0-9]+ rows are missing, such as "):
        resume.require_each_once(Ids(uri, ID), Ids(uri, ID, OK), [f"{uri}-checkpoint"])


def captions_counted(uri: str) -> None:
    assert summary.count(uri).statuses["failed", "gone"] > 0


def phantoms_counted(uri: str) -> None:
    assert attribute_accuracy(uri)["colours"] == 0


def ingest_counted(uri: str) -> None:
    assert counts.count(uri).splits["test"] > 0


def surveyed(uri: str) -> None:
    assert survey.survey_rows(uri)["suspicious_ids"] == []


def described(uri: str) -> None:
    assert count(uri).statuses["clinic", "failed", "gone"] > 0


def leaks_looked_for(uri: str) -> None:
    """As many patients as rows."""
    assert leaks.checked(uri, leaks.Keys.read(uri, "patient_id")).values > 0


def examples_chosen(uri: str) -> None:
    assert len(choose(uri, count(uri).statuses).by_reason["failed", "gone"]) == PER_REASON


def drawn_counted(uri: str) -> None:
    from dermray.synthesis.run import _counted  # here: see `processes`

    files = len(list(Path(uri).iterdir()))
    assert _counted(uri, files * ROWS_PER_FILE)[1] == 0.25


def end_read(uri: str) -> None:
    assert len(summary.read(uri).good) == summary.SHOWN_OK


def resumed_twice(uri: str) -> None:
    """A file of ids a block, and then what was made of them beside another block's."""
    checkpoint, ids = f"{uri}-asked", [f"{number:064}" for number in range(ROWS_PER_FILE)]
    rows = resume.roll_up(checkpoint)
    pq.write_table(pa.table({"sample_id": ids}), f"{checkpoint}/more.parquet")
    assert resume.roll_up(checkpoint) == rows + ROWS_PER_FILE
    numbers, size = written._sorted_hashes._function(checkpoint, "sample_id")
    assert size == numbers.nbytes == 8 * (rows + ROWS_PER_FILE)


def ids_required(uri: str) -> None:
    resume.require_ids(uri, "sample_id")


def answers_collected(uri: str) -> None:
    assert len(cache._written(uri, "sample_id")) > 0


def progress_shown(uri: str) -> None:
    assert isinstance(progress.rows_written(uri, None)(), progress.Progress)


def rows_counted(uri: str) -> None:
    assert records.count_rows(uri, OK) > 0


def least_picked(uri: str) -> None:
    assert len(pick(uri, ["skin_tone"], OK, 64)) == 64


def few_picked(uri: str) -> None:
    """Of most files none."""
    assert len(pick(uri, ["skin_tone"], pc.field("source_id").isin(["folder/ISIC_000000003.jpg"]))) == 1


def prompts_chosen(uri: str) -> None:
    from dermray.training.previews import PreviewConfig, preview_requests

    assert preview_requests(PreviewConfig(), uri, 10_000_000) == {}, "none is of the train split"


pytestmark = pytest.mark.slow
READERS = [each_once, a_tenth_lost, captions_counted, phantoms_counted, ingest_counted, surveyed, described,
           leaks_looked_for, examples_chosen, drawn_counted, end_read, resumed_twice, ids_required, answers_collected,
           progress_shown, rows_counted, least_picked, few_picked, prompts_chosen]  # fmt: skip


def peak(work: Callable[[str], None], uri: str, answer: Any) -> None:
    """In a process of its own."""
    work(uri)
    status = Path("/proc/self/status").read_text().splitlines()
    [kib] = [line.split()[1] for line in status if line.startswith("VmHWM")]
    answer.send(int(kib) * 1024)


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    """They start with all modules imported, and with nothing else: each is a fork of one that imported them once.
    Memory that threads and malloc keep for later, of which each takes as much as it happens to need, is left out: with
    it peaks of the same work differ by 30 MiB. torch is not among the modules: of an inherited heap of its size more
    counts as a process's own, the more it does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")
        patch.setenv("MALLOC_ARENA_MAX", "1")
        patch.setenv("MALLOC_MMAP_THRESHOLD_", str(1 << 17))  # bytes: malloc's own at first, which it raises
        with fresh_processes(__name__, "pandas.util") as context:
            yield context


@pytest.mark.parametrize("work", READERS)
def test_memory_does_not_grow_with_the_rows(work: Callable[[str], None], rows: dict[int, str], processes: Any) -> None:
    peaks = []
    for uri in rows.values():
        receiver, sender = processes.Pipe(duplex=False)
        process = processes.Process(target=peak, args=(work, uri, sender))
        process.start()
        sender.close()
        peaks.append(receiver.recv())
        process.join()
    few, many = rows
    slope = (peaks[1] - peaks[0]) / (many - few)
    print(f"{work.__name__}: {peaks[0] / 2**20:.0f} MiB, then {slope:.1f} bytes a row")
    assert slope <= BYTES_A_ROW
