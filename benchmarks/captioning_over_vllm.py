"""Steady captions/s of the caption stage (read, decode, engine, parse, write) over raw `vllm.LLM.chat`.

    python -m benchmarks.captioning_over_vllm runs/quickstart

Same model, images, sampling and cores. The stage runs on few and on many rows, and its rate is the difference in
rows over the difference in seconds: start-up cancels out. The raw engine is timed after a warm-up.
"""

import base64
import subprocess
import sys
import tempfile
import time

import pyarrow.compute as pc

from dermray import manifest
from dermray.captioning.prompts import render
from dermray.captioning.run import CaptionConfig, run
from dermray.config import load, preset, validate
from dermray.datasets.ingest import IngestConfig, read_columns
from dermray.datasets.ingest import run as ingest

FEW, MANY = 300, 4300


def stage_seconds(quickstart: str, rows: str) -> tuple[int, float]:
    """Rows captioned and seconds taken."""
    with tempfile.TemporaryDirectory() as directory:
        overrides = [f"output={directory}/caption", f"rows={rows}", f"captioner={quickstart}/captioner"]
        result = run(load(CaptionConfig, preset("caption/nano"), overrides))
        return result.manifest.rows.ok, result.manifest.seconds


def raw_rate(quickstart: str, rows: str) -> float:
    """Captions/s of `LLM.chat` on the same images, already in memory as data URLs."""
    from vllm import LLM, SamplingParams

    model = f"{manifest.read(f'{quickstart}/captioner').data}/model/vllm"
    found = manifest.read(rows, "ingest")
    images = read_columns(f"{found.data}/rows", ["image"], pc.field("status") == "ok")["image"].to_pylist()
    chats = [
        [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(i).decode()}},
            {"type": "text", "text": render("abc", {})}]}]
        for i in images
    ]  # fmt: skip
    engine = LLM(model, dtype="float32", max_model_len=512, enforce_eager=True, limit_mm_per_prompt={"image": 1})
    sampling = SamplingParams(temperature=0.0, max_tokens=48)
    engine.chat(chats[:64], sampling, use_tqdm=False)
    started = time.perf_counter()
    engine.chat(chats[64:2064], sampling, use_tqdm=False)
    return len(chats[64:2064]) / (time.perf_counter() - started)


def main(quickstart: str) -> None:
    """Print both rates and their ratio."""
    with tempfile.TemporaryDirectory() as directory:
        for name, count in (("few", FEW), ("many", MANY)):
            source = {"source": "phantom", "count": count, "seed": 77, "duplicates": 0.0, "broken": 0.0}
            ingest(validate(IngestConfig, {"output": f"{directory}/{name}", "sources": [source]}))
        (few, few_seconds), (many, many_seconds) = (
            stage_seconds(quickstart, f"{directory}/{n}") for n in ("few", "many")
        )
        command = [sys.executable, "-m", "benchmarks.captioning_over_vllm", quickstart, f"{directory}/many"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        raw = float(done.stdout.split()[-1])
    ours = (many - few) / (many_seconds - few_seconds)
    print(
        f"stage: {few} rows in {few_seconds:.1f} s, {many} rows in {many_seconds:.1f} s, steady {ours:.1f} captions/s"
    )
    print(f"raw vllm.LLM.chat: {raw:.1f} captions/s\nratio stage / raw: {ours / raw:.3f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        from dermray.cluster import prepare_environment

        prepare_environment()
        print(raw_rate(*sys.argv[1:]))
    else:
        main(sys.argv[1])
