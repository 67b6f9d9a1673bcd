"""vLLM in Ray Data, through ray.data.llm's engine stage.

Of its stages only the engine is used. The chat template is filled in once, at the driver, instead of once a row in
actors that each import vLLM; and images travel encoded and are decoded beside the engine.
"""

import asyncio
import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from dermray import weights
from dermray.captioning.adapters import room
from dermray.captioning.budget import ErrorBudget
from dermray.captioning.engine import Answer, Ask, Manner
from dermray.captioning.hosted import checked
from dermray.captioning.settings import VllmConfig
from dermray.captioning.thinking import settled
from dermray.captioning.vllm_thinking import Thoughts, let_think
from dermray.cluster import engine_environment
from dermray.datasets.decode import decode

if TYPE_CHECKING:
    from ray.data import Dataset

BATCHES_IN_FLIGHT = 2  # per engine: while one ends, the next keeps the engine full; a crash costs no more than these


def prepared(model: str, config: VllmConfig) -> Answer:
    """See `choose.prepared`.

    Raises:
        ValueError: see `hosted.checked`.
    """
    small = weights.locate_small(model, "captioner")
    parts, config = checked(small, config)
    return partial(_answer, config=config, parts=parts, small=small)


def _answer(rows: "Dataset", ask: Ask, config: VllmConfig, parts: tuple[str, str], small: str) -> "Dataset":
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    commit = config.revision if weights.on_hub(ask.model) else None  # a directory's revision is not for vLLM
    processor = build_processor(
        vLLMEngineProcessorConfig(
            model_source=small,  # read here, by ray.data.llm's telemetry; engines load what lies on their node
            engine_kwargs=engine_arguments(config.model_copy(update={"revision": commit})),
            concurrency=config.replicas,
            batch_size=ask.rows_per_block,
            max_concurrent_batches=BATCHES_IN_FLIGHT,
            max_tasks_in_flight_per_actor=BATCHES_IN_FLIGHT,
            placement_group_config={
                "bundle_per_worker": {"CPU": config.cpus} | ({"GPU": config.gpus} if config.gpus else {})
            },
            # a joined cluster does not inherit this process's environment
            runtime_env={"env_vars": engine_environment(config.gpus)},
            prepare_multimodal_stage={"enabled": False},
            chat_template_stage={"enabled": False},
            tokenize_stage={"enabled": False},
            detokenize_stage={"enabled": False},
            should_continue_on_error=True,
            log_engine_metrics=config.measured,
        ),
        preprocess=Request(ask, parts),
        postprocess=None,
    )
    name = "vLLMEngineStage"
    stage = processor.get_stage_by_name(name)
    # a copy, because assigning to a field validates anew, and loses the placement
    named = stage.fn_constructor_kwargs | {"model": ask.model}
    processor.stages[name] = stage.model_copy(
        update={"fn": _noting(stage.fn, ask, config), "fn_constructor_kwargs": named}
    )
    answered: Dataset = processor(rows)
    return answered


def engine_arguments(config: VllmConfig) -> dict[str, Any]:
    """What vLLM's AsyncEngineArgs gets."""
    arguments: dict[str, Any] = {
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "tensor_parallel_size": config.tensor_parallel_size,
        "pipeline_parallel_size": config.pipeline_parallel_size,
        "kv_cache_dtype": config.kv_cache_dtype,
        "gpu_memory_utilization": config.gpu_memory_utilization,
        "trust_remote_code": config.trust_remote_code,
        "enforce_eager": config.enforce_eager,
        "limit_mm_per_prompt": {"image": 1},
        "mm_processor_cache_gb": 0,  # every image is seen once
        "disable_log_stats": not config.measured,
        # no free whitespace in JSON: small models go round in circles there
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if not config.gpus:
        arguments["kv_cache_memory_bytes"] = int(config.kv_cache_gib * 2**30)  # vLLM would take its share of all memory
    if config.quantization:
        arguments["quantization"] = config.quantization
    if config.revision:
        arguments["revision"] = config.revision
    if config.reasoning_parser:
        arguments["reasoning_parser"] = config.reasoning_parser  # guided decoding waits for the end of a thought
    if config.lora:
        arguments |= {"enable_lora": True, "max_lora_rank": room(config.lora_rank)}
    return arguments


class Request:
    """A row as ray.data.llm's engine stage wants it."""

    def __init__(self, manner: Manner, parts: tuple[str, str]) -> None:
        self.before, self.after = parts
        self.sampling = manner.sampling.model_dump()
        if manner.schema is not None:
            # a string: Arrow would pad a dict
            self.sampling["structured_outputs"] = {"json": json.dumps(manner.schema)}
        self.__name__ = "request"

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Its prompt with the model's template around it, and its sampling."""
        # a row with an error is passed by the engine stage
        error = "unreadable" if row["unreadable"] else ""
        prompt = self.before + row["question"] + self.after
        return {"prompt": prompt, "sampling_params": self.sampling, "__inference_error__": error}


def _noting(base: type, ask: Ask, config: VllmConfig) -> type:
    """The engine stage, finding its weights on its own node, writing the ledger, decoding images, and leaving columns
    of ANSWERED."""

    class CaptionEngine(base):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            model, self.adapter = located(named["model"], config)
            super().__init__(*arguments, **named | {"model": model})
            ask.ledger.engine_ready()
            self.ends, self.budget = end_tokens(self.llm.engine), ErrorBudget(ask.max_engine_errors)
            self.thoughts = Thoughts(self.llm.engine.get_tokenizer(), config)
            let_think(self.llm.engine, config)

        async def udf(self, batch: list[dict[str, Any]]) -> Any:
            await ask.ledger.begun(len(batch))
            async for output in super().udf(batch):
                answered = columns(output, self.ends, config, self.thoughts)
                self.budget.note(answered["engine_error"])
                yield {self.IDX_IN_BATCH_COLUMN: output[self.IDX_IN_BATCH_COLUMN]} | answered

        async def _generate_with_error_handling(self, row: dict[str, Any], *arguments: Any) -> Any:
            # in a thread, row by row: the engine goes on meanwhile
            row["multimodal_data"] = {"image": await asyncio.to_thread(decode, row["shown"])}
            if self.adapter:
                row["model"] = self.adapter  # whatever is not the engine's own model is an adapter's path
            return await super()._generate_with_error_handling(row, *arguments)

    return CaptionEngine


def located(model: str, config: VllmConfig) -> tuple[str, str | None]:
    """What vLLM on this node loads: the model's path or hub id, and the path of its adapter if it has one."""
    adapter = weights.locate_adapter(config.lora, "engine.lora", config.lora_revision) if config.lora else None
    return weights.locate(model, "captioner", config.revision), adapter


def end_tokens(engine: Any) -> set[int]:
    """Ids that end an answer."""
    config = engine.vllm_config.model_config
    ends = config.try_get_generation_config().get("eos_token_id", config.hf_text_config.eos_token_id)
    return set(ends if isinstance(ends, list) else [ends])


def columns(output: dict[str, Any], ends: set[int], config: VllmConfig, thoughts: Thoughts) -> dict[str, Any]:
    """An output of ray.data.llm as columns of ANSWERED. It hands no finish reason on: an answer ended by itself where
    its last token is one that ends."""
    tokens = output["generated_tokens"]
    ended = "stop" if len(tokens) and tokens[-1] in ends else "length"
    text, reason = settled(*thoughts.part(output["generated_text"] or "", tokens, ends), ended)
    return {
        "text": text,
        "tokens_in": output["num_input_tokens"],
        "tokens_out": len(tokens),
        "finish_reason": reason,
        "engine_error": _reason(output["__inference_error__"], config),
        "requests": 1,
        "__inference_error__": "",  # read from engine_error: ray.data.llm would hand such a row on in another form
    }


def _reason(error: str, config: VllmConfig) -> str | None:
    """One reason for all rows that are too long: vLLM's own words differ from row to row by their lengths."""
    if re.search(r"maximum (model|context) length", error):
        return f"the question and its image do not fit into engine.max_model_len={config.max_model_len} tokens"
    return error or None
