"""Steady question-answer pairs/s of the instruct stage over raw `vllm.LLM.chat`: same prompts, guided decoding.

    python -m benchmarks.instruct_over_raw_vllm runs/quickstart/captioner

Same model, images, prompts, schema, sampling and cores. The stage runs on few and on many rows, and its rate is the
difference in pairs over the difference in seconds since its engine was ready: what a job costs once cancels out. The
raw engine gets all images at once, in memory, after a warm-up, and judges no answer. The two take turns, and the
better turn counts: other work on the machine only slows. A model of random weights does, because what it says costs
what sense costs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import pyarrow.compute as pc

from benchmarks.captioning_over_vllm import cache
from dermray import manifest
from dermray.captioning.models import find
from dermray.captioning.remote import messages
from dermray.cluster import prepare_environment
from dermray.config import load, preset, validate
from dermray.datasets.ingest import IngestConfig
from dermray.datasets.ingest import run as ingest
from dermray.records import IMAGES, read_columns
from dermray.vlm.instruct.prompt import prompt_of, schema
from dermray.vlm.instruct.questions import KINDS
from dermray.vlm.instruct.run import InstructConfig, run

FEW, MANY, TURNS = 512, 4608, 2
PRESET = "instruct/nano"


def ours(model: str, rows: str) -> float:
    """Seconds that the stage takes from when its engine is ready."""
    with tempfile.TemporaryDirectory() as directory:
        overrides = [f"output={directory}/instruct", f"rows={rows}", f"captioner={model}"]
        result = run(load(InstructConfig, preset(PRESET), overrides))
        return float(result.manifest.metrics["instruct"]["last_start"]["steady_seconds"])


def raw(model: str, rows: str, few: int) -> float:
    """Pairs/s of `LLM.chat` on images already in memory, without the first `few`."""
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    settings, found = load(InstructConfig, preset(PRESET)), manifest.read(rows, "ingest")
    table = read_columns(f"{found.data}/rows", IMAGES.names, pc.field("status") == "ok")
    chats = [messages(row["image"], prompt_of(row, settings.context)) for row in table.to_pylist()]
    engine, how = settings.engine, schema(KINDS, settings.most_characters, settings.one_sentence)
    llm = LLM(
        find(model, None).model,
        dtype=engine.dtype,
        max_model_len=engine.max_model_len,
        max_num_seqs=engine.max_num_seqs,
        enforce_eager=engine.enforce_eager,
        limit_mm_per_prompt={"image": 1},
        mm_processor_cache_gb=0,  # as the stage: every image is seen once
        structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
        **cache(engine),
    )
    sampling = SamplingParams(
        temperature=settings.sampling.temperature,
        max_tokens=settings.sampling.max_tokens,
        structured_outputs=StructuredOutputsParams(json=how),
    )
    form = "openai"  # nano has a template of its own, which vLLM takes for one of plain strings
    llm.chat(chats[:few], sampling, use_tqdm=False, chat_template_content_format=form)
    started = time.perf_counter()
    llm.chat(chats[few:], sampling, use_tqdm=False, chat_template_content_format=form)
    return len(KINDS) * len(chats[few:]) / (time.perf_counter() - started)


def measured(what: str, model: str, rows: str, few: int) -> float:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.instruct_over_raw_vllm", model, "--one", what, rows,
               "--few", str(few)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return float(json.loads(done.stdout.splitlines()[-1]))


def main(model: str, few: int, many: int, turns: int) -> None:
    """Print rates and their ratio."""
    with tempfile.TemporaryDirectory() as directory:
        for name, count in (("few", few), ("many", many)):
            source = {"source": "phantom", "count": count, "seed": 77, "duplicates": 0.0, "broken": 0.0}
            ingest(validate(IngestConfig, {"output": f"{directory}/{name}", "sources": [source]}))
        import ray

        ray.shutdown()
        seconds, rates = dict[str, float](), list[float]()
        for _ in range(turns):
            for size in ("few", "many"):
                taken = measured("ours", model, f"{directory}/{size}", few)
                print(f"  stage, {size}: {taken:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
                seconds[size] = min(taken, seconds.get(size, taken))
            rates.append(measured("raw", model, f"{directory}/many", few))
            print(f"  raw: {rates[-1]:.2f} pairs/s, load {os.getloadavg()[0]:.1f}", flush=True)
    stage = len(KINDS) * (many - few) / (seconds["many"] - seconds["few"])
    print(f"steady pairs/s: stage {stage:.2f}, raw vllm.LLM.chat {max(rates):.2f}; ratio {stage / max(rates):.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a captioner as `dermray instruct` takes it")
    parser.add_argument("--few", type=int, default=FEW)
    parser.add_argument("--many", type=int, default=MANY)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "ROWS"), help="used by itself")
    given = parser.parse_args()
    prepare_environment()
    if given.one is None:
        main(given.model, given.few, given.many, given.turns)
    else:
        what, rows = given.one
        print(ours(given.model, rows) if what == "ours" else raw(given.model, rows, given.few))
