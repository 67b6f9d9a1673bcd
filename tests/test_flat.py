"""What reads a column of all rows holds at most 16 bytes a row: peak memory, by the kernel, at n and at 10 n rows.

Not here, and why:
    what Ray Data runs (`_look_at`, `Prepare`, `Finish`, `_Draw`, `write_shards`, `_count`): blocks, one at a time
    `datasets.ingest._assign`: groups and near duplicates need all keys; see `datasets.assignment` for what it gives out
    `generators.coverage`, `captioning.audit` but for `attribute_accuracy`: samples of a size that the config sets
"""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dermray import progress, records
from dermray.captioning import cache, resume, summary
from dermray.captioning.accuracy import attribute_accuracy
from dermray.datasets import counts, survey
from dermray.exactly_once import Ids, difference
from dermray.picked import pick
from dermray.records import SYNTHETIC
from dermray.synthesis.run import _counted
from dermray.training.previews import PreviewConfig, preview_requests

ROWS, ROWS_PER_FILE = 100_000, 2_500  # more files than are read at once, also of the fewer rows
BYTES_A_ROW = 16
NAME, ID = ("source", "source_id"), ("sample_id",)
OK = pc.field("status") == "ok"


def write(folder: Path, rows: int) -> None:
    """Metadata alone. Ids, patients and lesions are as many as rows, a tenth of them failed."""
    folder.mkdir(parents=True)
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


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Directories of rows, by how many these are."""
    root = tmp_path_factory.mktemp("flat")
    for times in (1, 10):
        write(root / str(times), times * ROWS)
    return {times * ROWS: str(root / str(times)) for times in (1, 10)}


def each_once(uri: str) -> None:
    assert difference(Ids(uri, NAME), Ids(uri, NAME)) is None


def a_tenth_lost(uri: str) -> None:
    """Checkpoints are made anew."""
    with pytest.raises(RuntimeError, match="0 of .*0 rows are missing, such as "):
        resume.require_each_once(Ids(uri, ID), Ids(uri, ID, OK), [f"{uri}-checkpoint"])


def captions_counted(uri: str) -> None:
    assert summary.count(uri).statuses["failed", "gone"] > 0


def phantoms_counted(uri: str) -> None:
    assert attribute_accuracy(uri)["colours"] == 0


def ingest_counted(uri: str) -> None:
    assert counts.count(uri).splits["test"] > 0


def surveyed(uri: str) -> None:
    assert survey.survey_rows(uri)["suspicious_ids"] == []


def drawn_counted(uri: str) -> None:
    files = len(list(Path(uri).iterdir()))
    assert _counted(uri, files * ROWS_PER_FILE)[1] == 0.25


def ids_required(uri: str) -> None:
    resume.require_ids(uri, "sample_id")


def answers_collected(uri: str) -> None:
    assert len(cache._written(uri)) > 0


def progress_shown(uri: str) -> None:
    assert isinstance(progress.rows_written(uri, None)(), progress.Progress)


def rows_counted(uri: str) -> None:
    assert records.count_rows(uri, OK) % (9 * ROWS_PER_FILE // 10) == 0


def least_picked(uri: str) -> None:
    assert len(pick(uri, ["skin_tone"], OK, 64)) == 64


def prompts_chosen(uri: str) -> None:
    assert preview_requests(PreviewConfig(), uri, 10_000_000) == {}, "none is of the train split"


pytestmark = pytest.mark.slow
READERS = [each_once, a_tenth_lost, captions_counted, phantoms_counted, ingest_counted, surveyed, drawn_counted,
           ids_required, answers_collected, progress_shown, rows_counted, least_picked, prompts_chosen]  # fmt: skip


def peak(work: Callable[[str], None], uri: str, answer: Any) -> None:
    """In a process of its own."""
    work(uri)
    status = Path("/proc/self/status").read_text().splitlines()
    [kib] = [line.split()[1] for line in status if line.startswith("VmHWM")]
    answer.send(int(kib) * 1024)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """They start with all modules imported, and with nothing else. Memory that threads keep for later, of which each
    takes as much as it happens to need, is left out: with it peaks of the same work differ by 30 MiB."""
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "pandas.util"])
    return context


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
