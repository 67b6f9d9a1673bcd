"""How an answer is drawn, and who hosts the model: vLLM inside Ray Data, or an OpenAI-compatible endpoint."""

import os
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from dermray.config import Config, ConfigError, Count, HowFast
from dermray.result_fields import ResultOf

MAY_BE_LEFT_OUT = ("temperature", "top_p", "seed")  # of a request: the endpoint's own values apply then


class Sampling(Config):
    """How tokens are drawn."""

    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(48, ge=1)
    seed: int = Field(0, ge=0)


class VllmConfig(Config):
    """vLLM inside Ray Data."""

    replicas: HowFast[Count] = Field(1, description="engines, or [min, max] of them")
    cpus: HowFast[float] = Field(1, gt=0, description="per worker of an engine")
    gpus: float = Field(0, ge=0, description="per worker of an engine")
    dtype: str = Field("float32", pattern="^(auto|float32|bfloat16|float16)$")
    max_model_len: int = Field(512, ge=64)
    max_num_seqs: HowFast[int] = Field(256, ge=1)
    tensor_parallel_size: int = Field(1, ge=1)
    pipeline_parallel_size: int = Field(1, ge=1)
    quantization: str | None = Field(None, description="one of vLLM's methods, such as fp8, awq or bitsandbytes")
    kv_cache_dtype: str = "auto"
    kv_cache_gib: HowFast[float] = Field(1, gt=0, description="on CPUs; on GPUs gpu_memory_utilization decides")
    gpu_memory_utilization: HowFast[float] = Field(0.9, gt=0, le=1)
    lora: Annotated[str, ResultOf("tune-vlm")] | None = Field(
        None, description="directory, s3:// URI or hub id of a LoRA adapter, or a tune-vlm result"
    )
    lora_revision: str | None = Field(None, description="commit of the adapter's hub id")
    lora_rank: int = Field(64, ge=1, le=512, description="largest rank of an adapter")
    revision: str | None = Field(None, description="commit of a hub id")
    trust_remote_code: bool = Field(False, description="run the model's own Python; a hub id then needs its revision")
    enforce_eager: HowFast[bool] = Field(False, description="no CUDA graphs, no compilation: starts sooner, is slower")
    metrics: HowFast[bool | None] = Field(
        None,
        description="export vLLM's metrics to Ray's metrics port and board 'Data LLM'; default: if "
        "RAY_PROMETHEUS_HOST is set",
    )
    prompt_format: str | None = Field(
        None, description="for a model without a chat template, e.g. '[INST] <image>\\n{question} [/INST]'"
    )
    chat_template_kwargs: dict[str, Any] = Field(
        {}, description="variables of the model's chat template, e.g. {enable_thinking: false}"
    )
    reasoning_parser: str | None = Field(
        None,
        description="vLLM's parser for a reasoning model, e.g. qwen3: it separates reasoning from the answer, and "
        "guided decoding begins after the reasoning",
    )

    @model_validator(mode="after")
    def _a_template_to_fill(self) -> Self:
        if self.prompt_format is not None and self.chat_template_kwargs:
            raise ConfigError("chat_template_kwargs: expected none beside prompt_format, which is no template")
        return self

    @property
    def measured(self) -> bool:
        """Whether engines say how they are: it costs them a little, and without a Prometheus nobody reads it."""
        return bool(os.environ.get("RAY_PROMETHEUS_HOST")) if self.metrics is None else self.metrics

    @property
    def draws(self) -> bool:
        """Whether it can draw tokens at a temperature above 0. vLLM 0.29 rewinds a seed's generator by CUDA's own means
        after a part of a prompt: on CPUs `Generator does not use offset` ends the engine, which is started again."""
        return self.gpus > 0

    @property
    def workers(self) -> int:
        """Workers of all engines, at most."""
        most = self.replicas if isinstance(self.replicas, int) else self.replicas[1]
        return most * self.tensor_parallel_size * self.pipeline_parallel_size


class RemoteConfig(Config):
    """An OpenAI-compatible endpoint."""

    base_url: str = Field(pattern="^https?://", description="for example https://api.openai.com/v1")
    model: str
    key_variable: HowFast[str] = Field("OPENAI_API_KEY", description="environment variable that holds the key")
    replicas: HowFast[int] = Field(1, ge=1, description="clients")
    concurrency: HowFast[int] = Field(32, ge=1, description="requests in flight per client")
    requests_per_minute: HowFast[float | None] = Field(None, gt=0, description="over all clients, including retries")
    max_retries: HowFast[int] = Field(
        5, ge=0, description="with exponential backoff, on 408, 409, 425, 429, 5xx, lost connections and broken replies"
    )
    timeout: HowFast[float] = Field(120, gt=0, description="seconds per request")
    chat_template_kwargs: dict[str, Any] = Field(
        {},
        description="sent with each request, for servers that fill in a template, e.g. vLLM: {enable_thinking: false}",
    )
    reasoning_effort: str | None = Field(
        None,
        pattern="^(none|minimal|low|medium|high|xhigh)$",
        description="sent with each request, for endpoints that know it; reasoning counts towards sampling.max_tokens",
    )
    max_tokens_as: str = Field(
        "max_tokens",
        pattern="^max_(completion_)?tokens$",
        description="request field for sampling.max_tokens: max_completion_tokens for OpenAI's reasoning models",
    )
    not_sent: list[str] = Field(
        [],
        description="sampling fields that the endpoint refuses: temperature, top_p, seed for OpenAI's reasoning models",
    )
    price_in: HowFast[float | None] = Field(None, ge=0, description="per million tokens")
    price_out: HowFast[float | None] = Field(None, ge=0, description="per million tokens")

    @field_validator("not_sent")
    @classmethod
    def _of_sampling(cls, names: list[str]) -> list[str]:
        if unknown := sorted(set(names) - set(MAY_BE_LEFT_OUT)):
            raise ValueError(f"expected names out of {MAY_BE_LEFT_OUT}, got {unknown}")
        return names
