"""Steady captions/s of the caption stage over raw `vllm.LLM.chat` and over a plain `ray.data.llm` script.

    python -m benchmarks.captioning_over_vllm runs/quickstart/captioner

Same model, images, sampling and cores. Stage and script run on few and on many rows, and their rate is the difference
in rows over the difference in seconds: start-up cancels out. The raw engine gets all images at once, in memory, after
a warm-up. The three take turns, each twice, and the better turn counts: other work on the machine only slows.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

import pyarrow.compute as pc

from dermray import manifest
from dermray.captioning.prompts import render
from dermray.captioning.remote import messages
from dermray.captioning.run import CaptionConfig, run
from dermray.captioning.settings import VllmConfig
from dermray.captioning.vllm_engine import engine_arguments
from dermray.cluster import connect, prepare_environment
from dermray.config import load, preset, validate
from dermray.datasets.ingest import IngestConfig
from dermray.datasets.ingest import run as ingest
from dermray.records import read_columns

FEW, MANY = 512, 16896
TURNS = 2


def ours(model: str, rows: str, preset_name: str) -> float:
    """Seconds that the caption stage takes."""
    with tempfile.TemporaryDirectory() as directory:
        overrides = [f"output={directory}/caption", f"rows={rows}", f"captioner={model}"]
        return run(load(CaptionConfig, preset(preset_name), overrides)).manifest.seconds


def script(model: str, rows: str, settings: CaptionConfig) -> float:
    """Seconds of what the documentation of ray.data.llm shows for a vision-language model."""
    connect()
    import ray.data
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    engine = settings.engine
    config = vLLMEngineProcessorConfig(
        model_source=model,
        engine_kwargs={"dtype": engine.dtype, "max_model_len": engine.max_model_len,
                       "enforce_eager": engine.enforce_eager, "limit_mm_per_prompt": {"image": 1}} | cache(engine),
        concurrency=1,
        batch_size=64,
        placement_group_config={"bundle_per_worker": {"CPU": 1} | ({"GPU": 1} if engine.gpus else {})},
        runtime_env={"env_vars": {"VLLM_LOGGING_LEVEL": "WARNING"}},
        # nano has a template of its own, which vLLM takes for one of plain strings
        prepare_multimodal_stage={"enabled": True, "chat_template_content_format": "openai"},
    )  # fmt: skip
    sampling = {"temperature": 0.0, "max_tokens": settings.sampling.max_tokens}
    processor = build_processor(
        config,
        preprocess=lambda row: {"messages": chat(row["image"]), "sampling_params": sampling},
        postprocess=lambda row: {"sample_id": row["sample_id"], "answer": row["generated_text"]},
    )
    started = time.time()
    with tempfile.TemporaryDirectory() as directory:
        found = f"{manifest.read(rows, 'ingest').data}/rows"
        processor(ray.data.read_parquet(found, columns=["sample_id", "image"])).write_parquet(directory)
    return time.time() - started


def cache(engine: VllmConfig) -> dict[str, Any]:
    """Of the size that ours has; on GPUs all have what vLLM takes by itself."""
    return {} if engine.gpus else {"kv_cache_memory_bytes": engine_arguments(engine)["kv_cache_memory_bytes"]}


def raw(model: str, rows: str, settings: CaptionConfig) -> float:
    """Captions/s of `LLM.chat` on images already in memory."""
    from vllm import LLM, SamplingParams

    found = manifest.read(rows, "ingest")
    images = read_columns(f"{found.data}/rows", ["image"], pc.field("status") == "ok")["image"].to_pylist()
    chats = [chat(image) for image in images]
    engine = settings.engine
    llm = LLM(model, dtype=engine.dtype, max_model_len=engine.max_model_len, enforce_eager=engine.enforce_eager,
              limit_mm_per_prompt={"image": 1}, **cache(engine))  # fmt: skip
    sampling = SamplingParams(temperature=0.0, max_tokens=settings.sampling.max_tokens)
    llm.chat(chats[:FEW], sampling, use_tqdm=False)
    started = time.perf_counter()
    llm.chat(chats[FEW:], sampling, use_tqdm=False)
    return len(chats[FEW:]) / (time.perf_counter() - started)


def chat(image: bytes) -> list[dict[str, Any]]:
    """The `abc` question about one image."""
    return messages(image, render("abc", {}))


def measured(what: str, model: str, rows: str, preset_name: str) -> float:
    """One measurement in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.captioning_over_vllm",
        model,
        "--one",
        what,
        rows,
        "--preset",
        preset_name,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return float(json.loads(done.stdout.splitlines()[-1]))


def main(model: str, preset_name: str) -> None:
    """Print rates and ratios."""
    with tempfile.TemporaryDirectory() as directory:
        for name, count in (("few", FEW), ("many", MANY)):
            source = {"source": "phantom", "count": count, "seed": 77, "duplicates": 0.0, "broken": 0.0}
            ingest(validate(IngestConfig, {"output": f"{directory}/{name}", "sources": [source]}))
        import ray

        ray.shutdown()
        seconds: dict[tuple[str, str], float] = {}
        rates = []
        for _ in range(TURNS):
            for what in ("ours", "script"):
                for size in ("few", "many"):
                    taken = measured(what, model, f"{directory}/{size}", preset_name)
                    print(f"  {what} {size}: {taken:.1f} s", flush=True)
                    seconds[what, size] = min(taken, seconds.get((what, size), taken))
            rates.append(measured("raw", model, f"{directory}/many", preset_name))
            print(f"  raw: {rates[-1]:.1f} captions/s", flush=True)
    stage, plain = ((MANY - FEW) / (seconds[w, "many"] - seconds[w, "few"]) for w in ("ours", "script"))
    print(f"seconds: { {f'{w} {s}': round(v, 1) for (w, s), v in seconds.items()} }")
    print(f"steady captions/s: stage {stage:.1f}, plain ray.data.llm {plain:.1f}, raw vllm.LLM.chat {max(rates):.1f}")
    print(f"ratio stage / raw: {stage / max(rates):.3f}\nratio stage / plain ray.data.llm: {stage / plain:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a captioner as `dermray caption` takes it")
    parser.add_argument("--preset", default="caption/nano")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "ROWS"), help="used by itself")
    given = parser.parse_args()
    prepare_environment()
    if given.one is None:
        main(given.model, given.preset)
    else:
        what, rows = given.one
        settings = load(CaptionConfig, preset(given.preset))
        if what == "ours":
            print(ours(given.model, rows, given.preset))
        else:
            from dermray.captioning.models import find

            weights = find(given.model, None).model
            print(script(weights, rows, settings) if what == "script" else raw(weights, rows, settings))
