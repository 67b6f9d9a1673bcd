"""vLLM itself: the prompt it is given, its end tokens, and an engine that is killed at work."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file

from dermray.captioning.engine import VllmConfig
from dermray.captioning.models import find
from dermray.captioning.run import CaptionConfig, run
from dermray.captioning.vllm_engine import _columns, engine_arguments, prompt_format
from dermray.config import validate
from dermray.datasets import ingest
from dermray.datasets.ingest import read_columns


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


def test_an_answer_ended_by_itself_where_its_last_token_says_so() -> None:
    output = {"generated_text": "a", "num_input_tokens": 5, "__inference_error__": ""}
    assert _columns(output | {"generated_tokens": [7, 2]}, {2})["finish_reason"] == "stop"
    assert _columns(output | {"generated_tokens": [7, 8]}, {2})["finish_reason"] == "length"


def test_a_format_must_have_room_for_the_question() -> None:
    given = VllmConfig(prompt_format="[INST] <image>\n{question} [/INST]")
    assert prompt_format("any", given) == ("[INST] <image>\n", " [/INST]")
    with pytest.raises(ValueError, match=r"expected \{question\} in it"):
        prompt_format("any", VllmConfig(prompt_format="<image>"))


@pytest.mark.slow
def test_the_chat_template_is_filled_as_transformers_does(small_captioner: str) -> None:
    from transformers import AutoProcessor

    model = find(small_captioner, None).model
    before, after = prompt_format(model, VllmConfig())
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    filled = AutoProcessor.from_pretrained(model).apply_chat_template(message, add_generation_prompt=True)
    assert f"{before}What?{after}" == filled and "<image>" in before


def adapter(model: Path, directory: Path) -> str:
    """A LoRA adapter in peft's format, large enough to be heard."""
    text = json.loads((model / "config.json").read_text())["text_config"]
    width, generator = text["hidden_size"], torch.Generator().manual_seed(0)
    weights = {}
    for layer in range(text["num_hidden_layers"]):
        name = f"base_model.model.model.language_model.layers.{layer}.self_attn.q_proj"
        weights[f"{name}.lora_A.weight"] = torch.randn(8, width, generator=generator)
        weights[f"{name}.lora_B.weight"] = torch.randn(width, 8, generator=generator)
    directory.mkdir()
    save_file(weights, directory / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (directory / "adapter_config.json").write_text(json.dumps(about))
    return str(directory)


@pytest.mark.slow
def test_a_lora_adapter_speaks(local_ray: None, small_captioner: str, tmp_path: Path) -> None:
    source = {"source": "phantom", "count": 60, "size": 64}
    rows = ingest.run(validate(ingest.IngestConfig, {"output": f"{tmp_path}/ingest", "sources": [source]})).uri
    model = Path(find(small_captioner, None).model)
    base = {"rows": rows, "captioner": small_captioner, "prompt_set": "attributes-2", "sampling": {"max_tokens": 24}}
    said = []
    for name, lora in (("plain", None), ("adapted", adapter(model, tmp_path / "adapter"))):
        engine = {"enforce_eager": True, "lora": lora, "lora_rank": 8}
        result = run(validate(CaptionConfig, base | {"output": f"{tmp_path}/{name}", "engine": engine}))
        columns = ["sample_id", "answer", "reason", "captioner"]
        said.append(read_columns(f"{result.data}/rows", columns).sort_by("sample_id").to_pylist())
    assert not any("engine" in str(row["reason"]) for row in said[1])
    assert said[1][0]["captioner"] == f"{said[0][0]['captioner']} + {tmp_path}/adapter"
    different = sum(a["answer"] != b["answer"] for a, b in zip(*said, strict=True))
    assert different > len(said[0]) / 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_vllm_is_started_again(local_ray: None, small_captioner: str, tmp_path: Path) -> None:
    source = {"source": "phantom", "count": 1500, "size": 64, "broken": 0.0, "duplicates": 0.0}
    rows = ingest.run(validate(ingest.IngestConfig, {"output": f"{tmp_path}/ingest", "sources": [source]})).uri
    killed: list[int] = []

    def kill() -> None:
        while not list(tmp_path.glob("caption/data-*/rows/*.parquet")):
            time.sleep(0.05)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name().startswith("VLLM::EngineCor") or "VLLM::EngineCore" in " ".join(process.cmdline()):
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    config = {"output": f"{tmp_path}/caption", "rows": rows, "captioner": small_captioner, "rows_per_block": 64,
              "engine": {"enforce_eager": True}}  # fmt: skip
    result = run(validate(CaptionConfig, config))
    ids = read_columns(f"{result.data}/rows", ["sample_id"])["sample_id"].to_pylist()
    told = result.manifest.metrics["captioning"]
    assert len(killed) == 1 and told["engines_started"] == 2
    assert len(ids) == len(set(ids)) == 1500
    assert 0 < told["rows_asked_again"] <= 3 * 64, "the blocks in flight, no more"
