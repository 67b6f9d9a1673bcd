"""Ingest over what one writes without it: a pool of two processes, Pillow, SHA-256 and Parquet. And its peak of memory.

    python -m benchmarks.ingest_over_pillow IMAGES [COUNT [ROUNDS]]     # rows/s, rounds alternate
    python -m benchmarks.ingest_over_pillow IMAGES [COUNT] --memory     # at COUNT and ten times as many rows

IMAGES is a folder of photographs. Each becomes several, by a shift of up to 4 px, another brightness and a new JPEG:
files that differ, of the same size; ten times as many rows have some bytes after the image's end instead. The loop
opens each, converts it to RGB, takes its SHA-256 and writes rows to Parquet; then it also takes a perceptual hash, as
one needs to find near duplicates. Ingest does all that, and says what is wrong with a file, reads labels from folders,
groups, splits, joins and compares the rows with what went in. Seconds are wall-clock, without Ray's start, and of CPUs:
on a machine that others use only the latter mean anything, and they too grow with waiting processes.
"""

import hashlib
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageEnhance

from benchmarks.usage import cpu, family, own_cpu, peak

COUNT, ROUNDS, PROCESSES, CHUNK = 4000, 3, 2, 256
SUFFIXES = (".jpg", ".jpeg", ".png")
VALUES = 12  # of brightness and shift together


def made(images: Path, folder: Path, count: int) -> None:
    """So many files, in two folders."""
    found = sorted(file for file in images.rglob("*") if file.suffix.lower() in SUFFIXES)
    jobs = [(found[i % len(found)], i // len(found), folder / "ab"[i % 2] / f"{i:06}.jpg") for i in range(count)]
    for name in "ab":
        (folder / name).mkdir(parents=True, exist_ok=True)
    with multiprocessing.Pool(PROCESSES) as pool:
        pool.starmap(_make, jobs, chunksize=32)


def _make(source: Path, change: int, target: Path) -> None:
    image = Image.open(source).convert("RGB")
    shifted = image.transform(image.size, Image.Transform.AFFINE, (1, 0, change % 5, 0, 1, change % 3))
    ImageEnhance.Brightness(shifted).enhance(0.7 + 0.05 * (change % VALUES)).save(target, "JPEG", quality=90)


def grown(folder: Path, target: Path, times: int) -> None:
    """Each file so often, with some bytes after the image's end: other files that look the same."""
    for file in sorted(folder.rglob("*.jpg")):
        place = target / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        for number in range(times):
            (place / f"{file.stem}-{number}.jpg").write_bytes(file.read_bytes() + b"%d" % number)


def _rows(files: list[str], target: str, perceptual: bool) -> None:
    """What a pool's process does with some files."""
    rows = []
    for file in files:
        data = Path(file).read_bytes()
        image = Image.open(io.BytesIO(data)).convert("RGB")
        row = {"image": data, "sample_id": hashlib.sha256(data).hexdigest(), "width": image.width}
        row |= {"height": image.height, "label": Path(file).parent.name, "file": file}
        if perceptual:
            import imagehash

            row["hash"] = str(imagehash.phash(image))
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows), target)


def loop(folder: Path, target: Path, perceptual: bool) -> dict[str, float]:
    """All files through the pool."""
    began, before = time.perf_counter(), own_cpu()
    files = [str(file) for file in sorted(folder.rglob("*.jpg"))]
    target.mkdir(parents=True)
    chunks = [files[i : i + CHUNK] for i in range(0, len(files), CHUNK)]
    with multiprocessing.Pool(PROCESSES) as pool:
        jobs = [(chunk, str(target / f"{i}.parquet"), perceptual) for i, chunk in enumerate(chunks)]
        pool.starmap(_rows, jobs, chunksize=1)
        pool.close()
        pool.join()
    return {"seconds": time.perf_counter() - began, "cpu": own_cpu() - before}


def ingest(folder: Path, target: Path) -> dict[str, float]:
    """The stage, in a Ray that runs already."""
    from dermray.config import validate
    from dermray.datasets.ingest import IngestConfig, run

    source = {"source": "folder", "path": str(folder), "malignant_classes": ["a"], "benign_classes": ["b"]}
    config = validate(IngestConfig, {"output": str(target), "sources": [source]})
    began, before = time.perf_counter(), cpu(family())
    rows = run(config).manifest.rows
    assert rows.rows_in == len(list(folder.rglob("*.jpg"))) and not rows.failed, rows
    return {"seconds": time.perf_counter() - began, "cpu": cpu(family()) - before}


def warm(target: Path) -> None:
    """Workers start and import, once a job whatever its length."""
    from dermray.config import validate
    from dermray.datasets.ingest import IngestConfig, run

    phantoms = {"source": "phantom", "count": 1600, "size": 128, "bytes_per_block": 1 << 20}
    run(validate(IngestConfig, {"output": str(target), "sources": [phantoms]}))


def compared(images: Path, count: int, rounds: int) -> None:
    """A table of rates, and the ratios of each round."""
    from dermray.cluster import connect

    with tempfile.TemporaryDirectory() as place:
        files = Path(place) / "files"
        made(images, files, count)
        connect()
        warm(Path(place) / "warm")
        size = sum(file.stat().st_size for file in files.rglob("*.jpg")) / count
        print(f"{count} JPEG files of {size / 1000:.0f} KB on average, load before: {os.getloadavg()[0]:.1f}\n")
        print("| round | what | rows/s | of CPU | ingest over it | of CPU |\n|--:|---|--:|--:|--:|--:|", flush=True)
        for number in range(rounds):
            told = {
                "Pillow loop": loop(files, Path(place) / f"loop{number}", False),
                "Pillow loop + perceptual hash": loop(files, Path(place) / f"hash{number}", True),
                "ingest": ingest(files, Path(place) / f"ingest{number}"),
            }
            ours = told["ingest"]
            for name, took in told.items():
                rates = [f"{count / took[what]:.0f}" for what in took]
                ratios = [f"{took[what] / ours[what]:.2f}" for what in took]
                print(f"| {number + 1} | {name} | {' | '.join(rates + ratios)} |", flush=True)


def memory_of(folder: Path, target: Path) -> None:
    """Peak of this process and all that it starts, Ray among it, in MiB, as JSON."""
    with peak(family) as found:
        ingest(folder, target)
    print(json.dumps({"mib": found[0]}))


def memory(images: Path, count: int) -> None:
    """Peaks at two sizes, each in a Ray of its own."""
    print(f"| rows | peak MiB, shared pages once | over the first |\n|--:|--:|--:|  (load {os.getloadavg()[0]:.1f})")
    peaks = list[float]()
    with tempfile.TemporaryDirectory() as place:
        made(images, Path(place) / str(count), count)
        grown(Path(place) / str(count), Path(place) / str(10 * count), 10)
        for rows in (count, 10 * count):
            command = [sys.executable, "-m", "benchmarks.ingest_over_pillow", "--one", f"{place}/{rows}"]
            said = subprocess.run([*command, f"{place}/out{rows}"], capture_output=True, text=True, check=True).stdout
            peaks.append(json.loads(said.splitlines()[-1])["mib"])
            print(f"| {rows} | {peaks[-1]:.0f} | {peaks[-1] / peaks[0]:.2f} |", flush=True)


def main(arguments: list[str]) -> None:
    """By the command line."""
    given: list[Any] = [word for word in arguments if not word.startswith("--")]
    if "--one" in arguments:
        memory_of(Path(given[0]), Path(given[1]))
    elif "--memory" in arguments:
        memory(Path(given[0]), int((given[1:] or [COUNT])[0]))
    else:
        count, rounds = [*map(int, given[1:]), *(COUNT, ROUNDS)[len(given) - 1 :]]
        compared(Path(given[0]), count, rounds)


if __name__ == "__main__":
    main(sys.argv[1:])
