"""vLLM itself, in Ray Data and behind its own server: prompts, a killed engine, an adapter, equal rows, JSON."""

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pyarrow.compute as pc
import pytest
import torch
from safetensors.torch import save_file

from dermray import manifest
from dermray.captioning import remote, vllm_engine
from dermray.captioning.cache import AnswerCache
from dermray.captioning.engine import Ask
from dermray.captioning.hosted import prompt_format
from dermray.captioning.ledger import Ledger
from dermray.captioning.models import find
from dermray.captioning.prompts import structured
from dermray.captioning.run import CaptionConfig, run
from dermray.captioning.settings import RemoteConfig, Sampling, VllmConfig
from dermray.captioning.vllm_engine import _reason, columns, engine_arguments
from dermray.captioning.vllm_thinking import Thoughts
from dermray.config import validate
from dermray.datasets.phantom import SourceConfig, phantom_row
from dermray.manifest import Result
from dermray.records import CAPTIONED, IMAGES, read_columns
from tests.captioning.thinkers import processor
from tests.classification import made_rows
from tests.quickstart import SERVED_KEY, Quickstart

LOUDNESS = 0.1  # of the adapter's noise

pytestmark = pytest.mark.timeout(3000)  # the first test waits for the quickstart, whose captioner all use


@pytest.mark.xdist_group("vllm")
def test_settings_reach_vllm() -> None:
    given = VllmConfig(
        replicas=(2, 8), tensor_parallel_size=2, pipeline_parallel_size=2, quantization="fp8", kv_cache_dtype="fp8",
        lora="some/adapter", lora_rank=16, revision="abc",
    )  # fmt: skip
    found = engine_arguments(given)
    expected = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "quantization": "fp8", "kv_cache_dtype": "fp8",
                "enable_lora": True, "max_lora_rank": 16, "revision": "abc"}  # fmt: skip
    assert expected.items() <= found.items() and given.workers == 32
    from vllm import AsyncEngineArgs  # every name is one that this vLLM knows

    AsyncEngineArgs(model="m", **found)


def test_engines_are_measured_where_a_prometheus_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_PROMETHEUS_HOST", raising=False)
    assert engine_arguments(VllmConfig())["disable_log_stats"]
    assert not engine_arguments(VllmConfig(metrics=True))["disable_log_stats"]
    monkeypatch.setenv("RAY_PROMETHEUS_HOST", "http://prometheus:9090")
    assert not engine_arguments(VllmConfig())["disable_log_stats"]
    assert engine_arguments(VllmConfig(metrics=False))["disable_log_stats"]


def test_an_answer_ended_by_itself_where_its_last_token_says_so() -> None:
    output = {"generated_text": "a", "num_input_tokens": 5, "__inference_error__": ""}
    read = Thoughts(processor().tokenizer, VllmConfig())
    assert columns(output | {"generated_tokens": [7, 2]}, {2}, VllmConfig(), read)["finish_reason"] == "stop"
    assert columns(output | {"generated_tokens": [7, 8]}, {2}, VllmConfig(), read)["finish_reason"] == "length"


class Failing:
    """In the place of ray.data.llm's stage: an engine that answers so many rows, and then none."""

    IDX_IN_BATCH_COLUMN = "index"
    answers = 100

    def __init__(self, model: str) -> None:
        self.llm = SimpleNamespace(engine=SimpleNamespace(get_tokenizer=lambda: processor().tokenizer))

    async def udf(self, batch: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        for row in batch:
            error = "" if row["index"] < self.answers else "RuntimeError: no more memory"
            yield row | {
                "generated_text": "Red.", "generated_tokens": [2], "num_input_tokens": 5, "__inference_error__": error
            }  # fmt: skip


def test_an_engine_that_only_fails_ends_its_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_engine, "located", lambda model, config: (model, None))
    monkeypatch.setattr(vllm_engine, "end_tokens", lambda engine: {2})
    ask = Ask("m", Sampling(), None, 256, Ledger(str(tmp_path)), AnswerCache(str(tmp_path)))
    engine: Any = vllm_engine._noting(Failing, ask, VllmConfig())(model="m")
    given: list[int] = []

    async def drain() -> None:
        async for output in engine.udf([{"index": i} for i in range(256)]):
            given.append(output["index"])

    with pytest.raises(
        RuntimeError, match="33 of the engine's last 64 answers were errors, .* RuntimeError: no more memo"
    ):
        asyncio.run(drain())
    assert given == list(range(132)), "the block is not handed on whole, so it has no checkpoint"


@pytest.mark.parametrize("length", [512, 900])
def test_a_question_without_room_has_one_reason_whatever_its_length(length: int) -> None:
    """vLLM's own checks say it, the one before the image is counted in and the one after."""
    from vllm.exceptions import VLLMValidationError
    from vllm.renderers.params import TokenizeParams
    from vllm.v1.engine.input_processor import InputProcessor

    model = SimpleNamespace(max_model_len=512, runner_type="generate")
    engine: Any = SimpleNamespace(skip_prompt_length_check=False, model_config=model, supports_mm_inputs=True)
    said = []
    with pytest.raises(VLLMValidationError) as refused:
        InputProcessor._validate_prompt_len(engine, length, "decoder")
    said.append(f"VLLMValidationError: {refused.value}")
    with pytest.raises(VLLMValidationError) as refused:
        TokenizeParams(max_total_tokens=512)._token_len_check(None, [1] * (length + 1))
    said.append(f"VLLMValidationError: {refused.value}")
    reasons = {_reason(words, VllmConfig(max_model_len=512)) for words in said}
    assert reasons == {"the question and its image do not fit into engine.max_model_len=512 tokens"}
    assert _reason("", VllmConfig()) is None and _reason("ValueError: no", VllmConfig()) == "ValueError: no"


def test_a_format_must_have_room_for_the_question() -> None:
    given = VllmConfig(prompt_format="[INST] <image>\n{question} [/INST]")
    assert prompt_format("any", given) == ("[INST] <image>\n", " [/INST]")
    with pytest.raises(ValueError, match=r"expected \{question\} in it"):
        prompt_format("any", VllmConfig(prompt_format="<image>"))


@pytest.mark.slow
def test_the_chat_template_is_filled_as_transformers_does(nano_captioner: str) -> None:
    from transformers import AutoProcessor

    model = find(nano_captioner, None).model
    before, after = prompt_format(model, VllmConfig())
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    filled = AutoProcessor.from_pretrained(model).apply_chat_template(message, add_generation_prompt=True)
    assert f"{before}What?{after}" == filled and "<image>" in before


def adapter(model: Path, directory: Path) -> str:
    """A LoRA adapter in peft's format, large enough to be heard, small enough to be understood."""
    text = json.loads((model / "config.json").read_text())["text_config"]
    width, generator = text["hidden_size"], torch.Generator().manual_seed(0)
    weights = {}
    for layer in range(text["num_hidden_layers"]):
        name = f"base_model.model.model.language_model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(8, width, generator=generator)
        weights[f"{name}.lora_B.weight"] = LOUDNESS * torch.randn(width, 8, generator=generator)
    directory.mkdir()
    save_file(weights, directory / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (directory / "adapter_config.json").write_text(json.dumps(about))
    return str(directory)


@pytest.fixture(scope="module")
def phantoms(local_ray: None, quickstart: Quickstart, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A result of ingest: some of the quickstart's phantoms."""
    written = manifest.read(f"{quickstart.directory}/ingest").row_files()
    rows = read_columns(written, IMAGES.names, pc.field("status") == "ok").slice(0, 450).to_pylist()
    return made_rows.result(f"{tmp_path_factory.mktemp('phantoms')}/ingest", "ingest", rows).uri


@pytest.fixture(scope="module")
def plain(quickstart: Quickstart, phantoms: str) -> list[dict[str, Any]]:
    """What vLLM in Ray Data said of them in the quickstart."""
    ingested = f"{manifest.read(phantoms).data}/rows"
    ids = set(read_columns(ingested, ["sample_id"], pc.field("status") == "ok")["sample_id"].to_pylist())
    return [row for row in rows_of(manifest.read(f"{quickstart.directory}/caption")) if row["sample_id"] in ids]


def kill_engine_after(first_rows: Path, killed: list[int]) -> None:
    """SIGKILL vLLM's engine process as soon as `first_rows` holds a file."""
    while not list(first_rows.glob("data-*/rows/*.parquet")):
        time.sleep(0.02)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            in_ray = any("ray::" in " ".join(parent.cmdline()) for parent in process.parents())  # not `vllm_server`'s
            if in_ray and "VLLM::EngineCore" in " ".join([process.name(), *process.cmdline()]):
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)


@pytest.fixture(scope="module")
def survivor(phantoms: str, nano_captioner: str, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Phantoms captioned by a vLLM with an adapter, whose engine process was killed on the way."""
    directory, killed = tmp_path_factory.mktemp("survivor"), list[int]()
    lora = adapter(Path(find(nano_captioner, None).model), directory / "adapter")
    threading.Thread(target=kill_engine_after, args=(directory / "caption", killed), daemon=True).start()
    config = {"output": f"{directory}/caption", "rows": phantoms, "captioner": nano_captioner, "rows_per_block": 64,
              "engine": {"enforce_eager": True, "kv_cache_gib": 0.125, "lora": lora, "lora_rank": 8}}  # fmt: skip
    result = run(validate(CaptionConfig, config))
    assert len(killed) == 1
    return result


def rows_of(result: Result) -> list[dict[str, Any]]:
    """All rows, without images, by id."""
    columns = [name for name in CAPTIONED.names if name != "image"]
    found: list[dict[str, Any]] = read_columns(f"{result.data}/rows", columns).sort_by("sample_id").to_pylist()
    return found


@pytest.mark.slow
def test_a_killed_vllm_is_started_again(survivor: Result, plain: list[dict[str, Any]]) -> None:
    ids = [row["sample_id"] for row in rows_of(survivor)]
    told = survivor.manifest.metrics["captioning"]
    assert ids == [row["sample_id"] for row in plain] and len(ids) > 400 and told["engines_started"] == 2
    assert 0 < told["rows_asked_again"] <= 3 * 64, "the blocks in flight, no more"


@pytest.mark.slow
def test_a_lora_adapter_speaks(survivor: Result, plain: list[dict[str, Any]]) -> None:
    said = rows_of(survivor)
    assert said[0]["captioner"] == f"{plain[0]['captioner']} + {survivor.manifest.config['engine']['lora']}"
    assert not any("engine" in str(row["reason"]) for row in said)
    assert sum(a["answer"] != b["answer"] for a, b in zip(said, plain, strict=True)) > len(plain) / 2


@pytest.mark.slow
def test_an_endpoint_gives_the_same_rows(
    phantoms: str, plain: list[dict[str, Any]], vllm_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SERVED_KEY)
    config = {"output": f"{tmp_path}/there", "rows": phantoms, "remote": {"base_url": vllm_server, "model": "nano"}}
    there = rows_of(run(validate(CaptionConfig, config)))
    differ = {"captioner", "captioner_revision"}
    assert sum(row["status"] == "ok" for row in plain) > 400
    assert [row["sample_id"] for row in there] == [row["sample_id"] for row in plain]
    same = [(a, b) for a, b in zip(there, plain, strict=True) if a["answer"] == b["answer"]]
    # Other rows were in vLLM's batches, and sums of floats depend on it: two tokens of nearly equal scores may swap.
    assert len(same) >= 0.98 * len(plain)
    for row, expected in same:
        assert {k: row[k] for k in row.keys() - differ} == {k: expected[k] for k in row.keys() - differ}


@pytest.mark.slow
def test_guided_decoding_makes_a_model_write_json_that_never_saw_any(vllm_server: str, tmp_path: Path) -> None:
    import jsonschema
    from openai import OpenAI

    schema: dict[str, Any] = {**structured.SCHEMA, "required": ["asymmetry", "border", "skin_tone"]}
    known: dict[str, Any] = structured.SCHEMA["properties"]  # type: ignore[assignment]  # a literal of several types
    schema["properties"] = {name: known[name] for name in schema["required"]}
    config = RemoteConfig(base_url=vllm_server, model="nano")
    ask = Ask("nano", Sampling(max_tokens=200), schema, 1, Ledger(str(tmp_path)), AnswerCache(str(tmp_path)))
    image = phantom_row(0, SourceConfig(count=1, duplicates=0, broken=0))["image"]
    client = OpenAI(api_key=SERVED_KEY, base_url=vllm_server)
    messages: Any = remote.messages(image, "Describe.")
    answer = client.chat.completions.create(messages=messages, **remote.options(ask, config))
    jsonschema.validate(json.loads(str(answer.choices[0].message.content)), schema)
