"""What the end of a caption job takes alone, by rows: memory and seconds of each part, in blocks of 256 rows.

    python -m benchmarks.end_of_captioning ROWS ... [--directory DIR]

Written directly are what a job has left when its last block is done: the ingested rows, a file of captioned rows, one
of ids and a note of the ledger for each block, images of one pixel. Each part of the end then runs in a process of its
own, as the driver and Ray's task run them. Prints a Markdown table: the peak of the process by the kernel (VmHWM), what
of it is above that of the same part over one block, and that in bytes a row.
"""

import argparse
import hashlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.scale_of_captioning import ingested
from dermray import manifest, progress
from dermray.captioning import run as captioning
from dermray.captioning.resume import require_each_once, roll_up
from dermray.config import validate
from dermray.exactly_once import Ids
from dermray.page_index import write_options
from dermray.records import CAPTIONED, conform

ROWS_PER_BLOCK = 256
ANSWER = "asymmetric lesion, irregular border, red and light brown."


def job(directory: str) -> captioning.CaptionConfig:
    """The config of the job that is ended."""
    config = {"output": f"{directory}/caption", "rows": f"{directory}/ingest", "captioner": "stand-in"}
    return validate(captioning.CaptionConfig, config)


def work(directory: str) -> Any:
    """The place of its result, claimed."""
    inputs = {"rows": manifest.read(f"{directory}/ingest")}
    return manifest.work("caption", f"{directory}/caption", job(directory), inputs)


def written(directory: str, rows: int) -> None:
    """What the job has left when all is captioned. One in sixteen rows is rejected, one in eight is a phantom's."""
    ingested(f"{directory}/ingest", rows)
    with work(directory) as begun:
        data = Path(begun.data)
    for part in ("rows", "checkpoint/asked", "ledger/block", "ledger/run", "ledger/engine"):
        (data / part).mkdir(parents=True, exist_ok=True)
    for kind in ("run", "engine"):
        (data / "ledger" / kind / f"{time.time():.6f}-0-{kind}").touch()
    whole = _block()
    with multiprocessing.Pool(os.cpu_count()) as pool:
        starts = range(0, rows, ROWS_PER_BLOCK)
        pool.starmap(_write, ((str(data), whole, start, min(rows, start + ROWS_PER_BLOCK)) for start in starts), 64)


def _block() -> pa.Table:
    from PIL import Image

    from dermray.datasets.decode import png

    pixel, rows = png(Image.new("RGB", (1, 1))), []
    for i in range(ROWS_PER_BLOCK):
        row = {"image": pixel, "width": 1, "height": 1, "source": "stand-in", "malignant": True, "skin_tone": "A",
               "licence": "CC0-1.0", "origin": "real", "split": "train", "answer": ANSWER, "prompt_set": "abc@1",
               "captioner": "stand-in", "sampling": "{}", "tokens_in": 300, "tokens_out": 20, "attempts": 1,
               "finish_reason": "stop"}  # fmt: skip
        if i % 8 == 0:
            row |= {"split": "test", "true_asymmetry": True, "true_border_irregular": True, "true_colours": ["red"],
                    "said_asymmetry": True, "said_border_irregular": True, "said_colours": ["red"]}  # fmt: skip
        good = {"status": "ok", "caption": ANSWER, "reason": None}
        rows.append(row | (good if i % 16 else {"status": "rejected", "reason": "truncated"}))
    return conform(rows, CAPTIONED)


def _write(data: str, block: pa.Table, start: int, end: int) -> None:
    """One block's files. Ids are those of `ingested`."""
    numbers = [str(i) for i in range(start, end)]
    ids = pa.array([hashlib.sha256(number.encode()).hexdigest() for number in numbers])
    own = {"sample_id": ids, "source_id": pa.array(numbers), "leak_group": pa.array(numbers), "prompt_hash": ids}
    rows = block.slice(0, len(numbers))
    for name, values in own.items():
        rows = rows.set_column(CAPTIONED.get_field_index(name), name, values)
    pq.write_table(rows, f"{data}/rows/{start:012d}.parquet", **write_options(CAPTIONED))
    pq.write_table(pa.table({"sample_id": ids}), f"{data}/checkpoint/asked/{start:012d}.parquet")
    Path(data, "ledger", "block", f"{time.time():.6f}-{len(numbers)}-{start}").touch()


def shown(directory: str, rows: int) -> None:
    """Driver, all along: how far the job is."""
    with work(directory) as begun:
        assert progress.count_rows(f"{begun.data}/rows") == rows


def rolled_up(directory: str, rows: int) -> None:
    """Driver, before a resume."""
    with work(directory) as begun:
        assert roll_up(f"{begun.data}/checkpoint/asked") == rows


def compared(directory: str, rows: int) -> None:
    """Task: each row once."""
    with work(directory) as begun:
        asked = Ids(f"{manifest.read(f'{directory}/ingest').data}/rows", ("sample_id",), pc.field("status") == "ok")
        require_each_once(asked, Ids(f"{begun.data}/rows", ("sample_id",)), [f"{begun.data}/checkpoint/asked"])


def finished(directory: str, rows: int) -> None:
    """Driver: counts, page, manifest; removes checkpoint and ledger."""
    from dermray.captioning.ledger import Ledger

    with work(directory) as begun:
        result = captioning._finish(begun, rows, Ledger(f"{begun.data}/ledger"), job(directory))
    assert result.manifest.rows.rows_in == rows


PARTS: list[Callable[[str, int], None]] = [shown, rolled_up, compared, finished]


def _measured(part: Callable[[str, int], None], directory: str, rows: int, answer: Any) -> None:
    began, cpu = time.monotonic(), time.process_time()
    part(directory, rows)
    answer.send((time.monotonic() - began, time.process_time() - cpu, high_water()))


def high_water() -> int:
    """Bytes that this process held at most."""
    [kib] = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:6] == "VmHWM:"]
    return int(kib) * 1024


def measure(directory: str, rows: int) -> dict[str, tuple[float, float, int]]:
    """Seconds, CPU seconds and peak of each part."""
    began = time.monotonic()
    written(directory, rows)
    print(f"{rows} rows made in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    context, found = multiprocessing.get_context("spawn"), {}
    for part in PARTS:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_measured, args=(part, directory, rows, sender))
        process.start()
        sender.close()
        found[part.__name__] = receiver.recv()
        process.join()
    return found


def table(found: dict[int, dict[str, tuple[float, float, int]]]) -> str:
    """In Markdown; the first number of rows is what the others' memory is compared with."""
    least, lines = min(found), ["| rows | part | s | CPU s | peak, MiB | bytes a row more than at first |"]
    lines.append("| --: | --- | --: | --: | --: | --: |")
    for rows, parts in found.items():
        for name, (seconds, cpu, peak) in parts.items():
            more = f"{(peak - found[least][name][2]) / (rows - least):.1f}" if rows > least else ""
            lines.append(f"| {rows:,} | {name} | {seconds:.1f} | {cpu:.1f} | {peak / 2**20:.0f} | {more} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--directory", help="where all is written; a temporary one if not given")
    given = parser.parse_args()
    results = {}
    for number in sorted(given.rows):
        with tempfile.TemporaryDirectory(dir=given.directory) as temporary:
            results[number] = measure(temporary, number)
        print(table(results), flush=True)
