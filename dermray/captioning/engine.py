"""vLLM in Ray Data: rows with an image in, rows with an answer out."""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from dermray.cluster import ENGINE_ENVIRONMENT
from dermray.config import Config

if TYPE_CHECKING:
    from ray.data import Dataset


class EngineConfig(Config):
    """How vLLM runs."""

    replicas: int = Field(1, ge=1)
    batch_size: int = Field(64, ge=1, description="rows per request batch; the engine batches continuously inside")
    dtype: str = Field("float32", pattern="^(float32|bfloat16|float16)$")
    max_model_len: int = Field(512, ge=64)
    max_tokens: int = Field(48, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    cpus: float = Field(1, gt=0, description="per replica")
    gpus: float = Field(0, ge=0, description="per replica")
    seed: int = Field(0, ge=0)


def answer(rows: "Dataset", model: str, config: EngineConfig) -> "Dataset":
    """Rows that hold `shown` (encoded image) and `question`, with ray.data.llm's columns added.

    Its `generated_text`, `num_generated_tokens` and `__inference_error__` are what captioning.run reads.
    Images must decode: one that does not would end the whole job inside ray.data.llm.
    """
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    engine = vLLMEngineProcessorConfig(
        model_source=model,
        engine_kwargs={
            "dtype": config.dtype,
            "max_model_len": config.max_model_len,
            "enforce_eager": True,
            "limit_mm_per_prompt": {"image": 1},
            "seed": config.seed,
        },
        concurrency=config.replicas,
        batch_size=config.batch_size,
        placement_group_config={
            "bundle_per_worker": {"CPU": config.cpus} | ({"GPU": config.gpus} if config.gpus else {})
        },
        # a joined cluster does not inherit this process's environment; on a CPU vLLM would size its own KV cache
        runtime_env=None if config.gpus else {"env_vars": ENGINE_ENVIRONMENT},
        prepare_multimodal_stage={"enabled": True, "chat_template_content_format": "openai"},
        chat_template_stage={"enabled": True},
        tokenize_stage={"enabled": False},
        detokenize_stage={"enabled": False},
        should_continue_on_error=True,
    )
    sampling = {"temperature": config.temperature, "max_tokens": config.max_tokens, "seed": config.seed}
    processor = build_processor(engine, preprocess=_Ask(sampling), postprocess=None)
    answered: Dataset = processor(rows)
    return answered


class _Ask:
    """A row as ray.data.llm wants it: a chat with one image."""

    def __init__(self, sampling: dict[str, Any]) -> None:
        self.sampling = sampling
        self.__name__ = "ask"

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        import base64

        kind = "png" if row["shown"][:4] == b"\x89PNG" else "jpeg"
        url = f"data:image/{kind};base64,{base64.b64encode(row['shown']).decode()}"
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": row["question"]}]
        return {"messages": [{"role": "user", "content": content}], "sampling_params": self.sampling, **row}
