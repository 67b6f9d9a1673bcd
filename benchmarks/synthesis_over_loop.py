"""Images/s of the synthesis stage over a plain loop of the same sampler in one process: pixel_dermdit at 32 px.

    python -m benchmarks.synthesis_over_loop [RUN [COUNT [ROUNDS]]]

RUN holds `caption` and `train`; without it phantoms with stand-in captions and a generator of five steps are made. The
loop is what one writes without dermray: batches of the same requests, `sample`, a PNG of each image into a file. The
stage does that in one actor of one thread, and plan, memorisation gate, provenance, rows and the check of each line
besides. Rounds alternate. Seconds are wall-clock and the CPU's of the process that draws: other work on the machine
makes the first worthless, so both are printed.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

BATCH, STEPS, SCALE = 50, 20, 2.0
COUNT, ROUNDS = 600, 5


def prepared(run: Path) -> None:
    """Captioned rows, and a generator of the nano preset's size."""
    from benchmarks.stand_in_engine import StandIn, model_directory
    from dermray.captioning import choose
    from dermray.captioning import run as captioning
    from dermray.config import validate
    from dermray.datasets import ingest
    from dermray.training import run as training

    source = {"source": "phantom", "count": 1600, "size": 32}
    ingest.run(validate(ingest.IngestConfig, {"output": f"{run}/ingest", "sources": [source]}))
    captions = {"output": f"{run}/caption", "rows": f"{run}/ingest", "captioner": model_directory(str(run))}
    choose.prepared = StandIn().prepared  # type: ignore[assignment]
    captioning.run(validate(captioning.CaptionConfig, captions))
    config = {"output": f"{run}/train", "rows": f"{run}/caption", "loop": {"steps": 5, "batch_size": 8}}
    training.run(validate(training.TrainConfig, config | {"model": {"image_size": 32}}))


def timed(log: Path) -> type:
    """The stage's actor, which notes when it was called, and what of that the sampler took."""
    from dermray.synthesis.drawing import Draw

    class TimedDraw(Draw):
        def __init__(self, *arguments: Any) -> None:
            self.note("begun")
            super().__init__(*arguments)
            sample = self.generator.sample

            def sampled(*given: Any) -> torch.Tensor:
                began = time.perf_counter(), time.process_time()
                images = sample(*given)
                self.note("sampled", began)
                return images

            self.generator.sample = sampled  # type: ignore[assignment,method-assign]
            self.note("ready")

        def __call__(self, plan: pa.Table) -> pa.Table:
            began = time.perf_counter(), time.process_time()
            rows = super().__call__(plan)
            self.note("drawn", began, len(rows))
            return rows

        def note(self, what: str, began: tuple[float, float] = (0, 0), count: int = 0) -> None:
            wall, cpu = time.perf_counter(), time.process_time()
            with log.open("a") as file:
                line = {
                    "what": what,
                    "rows": count,
                    "at": wall,
                    "cpu_at": cpu,
                    "wall": wall - began[0],
                    "cpu": cpu - began[1],
                }
                print(json.dumps(line), file=file)

    return TimedDraw


def stage(run: Path, number: int, count: int) -> dict[str, float]:
    """One synthesis in one actor."""
    from dermray.config import validate
    from dermray.synthesis import drawing
    from dermray.synthesis import run as synthesis
    from dermray.synthesis.settings import SynthesisConfig

    given = {"output": f"{run}/generate{number}", "rows": f"{run}/caption", "generator": f"{run}/train", "actors": 1}
    given |= {"count": count, "batch_size": BATCH, "sampling_steps": STEPS, "guidance_scale": SCALE}
    log, before = run / f"log{number}.jsonl", drawing.Draw
    drawing.Draw = timed(log)  # type: ignore[assignment,misc]
    began = time.perf_counter()
    synthesis.run(validate(SynthesisConfig, given))
    whole = time.perf_counter() - began
    drawing.Draw = before  # type: ignore[misc]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    calls = [line for line in lines if line["what"] == "drawn"]
    first, last = calls[0]["at"] - calls[0]["wall"], calls[-1]["at"]
    return {
        "blocks": len(calls), "whole": whole, "drawing": last - first,
        "before": first - began, "after": began + whole - last,
        "drawing_cpu": calls[-1]["cpu_at"] - calls[0]["cpu_at"] + calls[0]["cpu"],
        "in_calls": sum(line["wall"] for line in calls), "in_calls_cpu": sum(line["cpu"] for line in calls),
        "in_sampler": sum(line["wall"] for line in lines if line["what"] == "sampled"),
        "in_sampler_cpu": sum(line["cpu"] for line in lines if line["what"] == "sampled"),
    }  # fmt: skip


def loop(run: Path, number: int, count: int, rows: int | None) -> dict[str, float]:
    """The same requests without the stage; `rows` of a forward pass, as the stage has them, or all of a batch."""
    from dermray import manifest
    from dermray.datasets.phantom import encode_png
    from dermray.generators.base import Request
    from dermray.records import read_columns
    from dermray.training.run import load_generator

    began = time.perf_counter()
    generator = load_generator(manifest.read(f"{run}/train"))
    generator.rows = rows
    result = manifest.read(f"{run}/generate{number}")
    plan = read_columns(f"{result.data}/plan", ["plan_id", "prompt", "seed"]).sort_by("plan_id").to_pylist()
    target = Path(tempfile.mkdtemp(dir=run))
    wall, cpu = time.perf_counter(), time.process_time()
    for first in range(0, count, BATCH):
        requests = plan[first : first + BATCH]
        images = generator.sample([Request(one["prompt"], one["seed"]) for one in requests], SCALE, STEPS)
        for one, image in zip(requests, images.permute(0, 2, 3, 1).numpy(), strict=True):
            (target / f"{one['plan_id']}.png").write_bytes(encode_png(image))
    end = time.perf_counter()
    name = "loop" if rows is None else "loop_in_rows"
    return {name: end - wall, f"{name}_cpu": time.process_time() - cpu, f"{name}_whole": end - began}


def main() -> None:
    """Print each round, and the medians, as JSON."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    from dermray.cluster import connect, prepare_environment

    prepare_environment()
    run = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    connect()
    if not (run / "train").exists():
        prepared(run)
    work = Path(tempfile.mkdtemp())
    for name in ("caption", "train"):
        (work / name).symlink_to((run / name).resolve())
    count, several = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((2, COUNT), (3, ROUNDS)))
    rounds = []
    for number in range(several + 1):
        found = stage(work, number, count)
        found |= loop(work, number, count, None) | loop(work, number, count, BATCH)
        found |= {
            "ratio_drawing": found["loop"] / found["drawing"], "ratio_cpu": found["loop_cpu"] / found["drawing_cpu"],
            "ratio_cpu_over_rows": found["loop_in_rows_cpu"] / found["drawing_cpu"],
            # of the stage over its own sampler, in the same seconds: what else runs on the machine takes from both
            "ratio_sampler": found["in_sampler"] / found["drawing"],
            "ratio_with_start": found["loop_whole"] / found["whole"], "load": os.getloadavg()[0],
        }  # fmt: skip
        print(json.dumps({name: round(value, 3) for name, value in found.items()}), flush=True)
        if number:  # the first round warms up
            rounds.append(found)
    print(json.dumps({name: round(statistics.median(r[name] for r in rounds), 3) for name in rounds[0]}))


if __name__ == "__main__":
    main()
