"""One way to ask a vision-language model, whoever hosts it: rows with an image and a question in, answers out.

Both engines take rows with the columns of `prepare.ASKED` and add those of `ANSWERED`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

from dermray.captioning.ledger import Ledger
from dermray.config import Config, HowFast

if TYPE_CHECKING:
    from ray.data import Dataset

ANSWERED = (
    ("text", pa.string()),
    ("tokens_in", pa.int32()),
    ("tokens_out", pa.int32()),
    ("finish_reason", pa.string()),
    ("engine_error", pa.string()),
    ("requests", pa.int32()),
)


class Sampling(Config):
    """How tokens are drawn."""

    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(48, ge=1)
    seed: int = Field(0, ge=0)


class VllmConfig(Config):
    """vLLM inside Ray Data."""

    replicas: HowFast[int | tuple[int, int]] = Field(1, description="engines, or [min, max] of them")
    cpus: HowFast[float] = Field(1, gt=0, description="per worker of an engine")
    gpus: float = Field(0, ge=0, description="per worker of an engine")
    dtype: str = Field("float32", pattern="^(auto|float32|bfloat16|float16)$")
    max_model_len: int = Field(512, ge=64)
    max_num_seqs: HowFast[int] = Field(256, ge=1)
    tensor_parallel_size: int = Field(1, ge=1)
    pipeline_parallel_size: int = Field(1, ge=1)
    quantization: str | None = Field(None, description="a method of vLLM's, such as fp8, awq or bitsandbytes")
    kv_cache_dtype: str = "auto"
    kv_cache_gib: HowFast[float] = Field(1, gt=0, description="on CPUs; on GPUs gpu_memory_utilization decides")
    gpu_memory_utilization: HowFast[float] = Field(0.9, gt=0, le=1)
    lora: str | None = Field(None, description="directory, s3:// URI or hub id of a LoRA adapter")
    lora_revision: str | None = Field(None, description="commit of the adapter's hub id")
    lora_rank: int = Field(64, ge=1, description="largest rank of an adapter")
    revision: str | None = Field(None, description="commit of a hub id")
    trust_remote_code: bool = False
    enforce_eager: HowFast[bool] = Field(False, description="no CUDA graphs, no compilation: starts sooner, is slower")
    prompt_format: str | None = Field(
        None, description="for a model without a chat template, e.g. '[INST] <image>\\n{question} [/INST]'"
    )

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
    requests_per_minute: HowFast[float | None] = Field(None, gt=0, description="over all clients")
    max_retries: HowFast[int] = Field(
        5, ge=0, description="with exponential backoff, on 408, 409, 429, 5xx and lost connections"
    )
    timeout: HowFast[float] = Field(120, gt=0, description="seconds per request")
    price_in: HowFast[float | None] = Field(None, ge=0, description="per million tokens")
    price_out: HowFast[float | None] = Field(None, ge=0, description="per million tokens")


@dataclass(frozen=True)
class Ask:
    """What is the same for every row."""

    model: str
    sampling: Sampling
    schema: dict[str, Any] | None  # of guided decoding
    rows_per_block: int
    ledger: Ledger


# Adds the columns of ANSWERED; rows that are `unreadable` are never sent.
Answer = Callable[["Dataset", Ask], "Dataset"]


def prepared(model: str, engine: VllmConfig | RemoteConfig) -> Answer:
    """What answers, after every check that needs neither Ray nor an engine.

    Raises:
        ValueError, ConnectionError: the model has no chat template, or the endpoint refuses.
    """
    if isinstance(engine, RemoteConfig):
        from dermray.captioning import remote

        return remote.prepared(engine)
    from dermray.captioning import vllm_engine

    return vllm_engine.prepared(model, engine)
