"""Settings of a tuning, and which of them exclude each other."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dermray.config import Config, ConfigError, HowFast
from dermray.datasets.licences import CommercialUse
from dermray.result_fields import ResultOf
from dermray.train_loop.settings import Decay, LoopConfig
from dermray.vlm.tuning.conversations import AnswersConfig

PARTS = ("language_model", "vision_tower", "projector")
Part = Literal["language_model", "vision_tower", "projector"]


def _default_rate(settings: dict[str, Any]) -> float:
    """A tenth of what a model from scratch learns with; Prodigy finds it itself."""
    return {"prodigy": 1.0, "lion": 2e-5}.get(settings.get("optimizer", "adamw"), 2e-4)


class TuningLoop(LoopConfig):
    """The loop that trains generators, with what the recipes of pretrained models share as defaults: a cosine from the
    warm-up on, AdamW's own betas, no decay and no average of weights (see the presets, each of which names its own)."""

    batch_size: int = Field(16, ge=1, description="conversations per step, over all workers and accumulated parts")
    learning_rate: float = Field(
        default_factory=_default_rate, gt=0, description="default: 2e-4; 1 for prodigy, 2e-5 for lion"
    )
    schedule: Literal["linear", "cosine", "constant"] = Field("cosine", description="how the rate falls to 0")
    warmup_steps: int = Field(30, ge=0)
    decay_from: float = Field(0.0, ge=0, le=1, description="share of the steps after which the rate starts to fall")
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    ema_decay: float = Field(0.0, ge=0, lt=1, description="0 for none")


class LoraConfig(Config):
    """Adapters of low rank beside frozen weights (Hu et al. 2021), in peft's format."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0, description="the adapter's output is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: Literal["linear", "attention"] | tuple[str, ...] = Field(
        "linear",
        description="all linear layers of the trained parts, only those of attention, or suffixes of their names, such "
        "as [q_proj, v_proj]",
    )


class TuneConfig(CommercialUse):
    """Which rows, which model, how it is tuned."""

    output: str
    rows: Annotated[str, ResultOf("instruct", "caption", "ingest")] = Field(
        description="result of the instruct or caption stage, or of ingest with a column of text"
    )
    base: Annotated[str, ResultOf("captioner", "tune-vlm")] = Field(
        description="image-text-to-text model of transformers: directory, s3:// URI or hub id, or a result of the "
        "captioner stage"
    )
    revision: str | None = Field(None, description="commit of a hub id")
    licence: str | None = Field(
        None, description="of the base's weights, if neither a licence file nor a model card beside them states it"
    )
    dtype: Literal["fp32", "bf16"] = Field("fp32", description="of the frozen weights; trained ones are fp32")
    method: Literal["lora", "full"] = "lora"
    parts: tuple[Part, ...] = Field(
        ("language_model",), min_length=1, description="parts that are trained; the others are frozen"
    )
    lora: LoraConfig = LoraConfig()
    start_from: Annotated[str, ResultOf("tune-vlm")] | None = Field(
        None, description="LoRA adapter of the same base to start from, in peft's format, or a tune-vlm result"
    )
    learn: AnswersConfig = AnswersConfig()
    samples: int | None = Field(
        None, ge=1, description="maximum number of conversations, always the same ones; default: all"
    )
    validation_samples: int = Field(
        64,
        ge=0,
        description="maximum number of conversations of the val split; their loss is logged at every checkpoint",
    )
    answers: HowFast[int] = Field(4, ge=0, description="number of held-out images whose answers TensorBoard shows")
    answer_tokens: HowFast[int] = Field(128, ge=1, description="maximum length of such an answer")
    image_side: int = Field(1024, ge=16, description="px; larger images are scaled down")
    max_length: int = Field(
        4096,
        ge=16,
        description="tokens, including the image's; a longer answer is truncated, image and question never are",
    )
    template: dict[str, bool | int | float | str] = Field(
        {}, description="extra variables for the chat template, such as {enable_thinking: false}"
    )
    by_length: bool = Field(True, description="batch conversations of similar length, for less padding")
    packing: bool = Field(
        False,
        description="a batch is one row without padding whose conversations do not attend to each other; for LLaVA, "
        "Idefics3, SmolVLM",
    )
    loop: TuningLoop

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        check(self)
        return self


def check(config: TuneConfig) -> None:
    """What no field alone can say.

    Raises:
        ConfigError: settings that do not go together.
    """
    if len(set(config.parts)) < len(config.parts):
        raise ConfigError(f"parts={list(config.parts)}: one is named twice; name each once")
    if config.loop.keep_best and not config.validation_samples:
        raise ConfigError("loop.keep_best=true: needs a validation loss; give validation_samples=64 or so")
    if config.method == "full" and config.start_from:
        raise ConfigError("start_from: an adapter goes on with method=lora; with method=full give a base to begin with")
    if config.method == "full" and config.lora != LoraConfig():
        raise ConfigError("method=full: trains all weights of the parts and has no adapter; leave lora out")
    if config.start_from and config.lora != LoraConfig():
        raise ConfigError("start_from: that adapter's own rank, alpha, dropout and layers hold; leave lora out")
    if config.dtype == "bf16" and config.loop.precision != "bf16":
        # else a bf16 weight meets an fp32 activation, which no linear layer takes
        raise ConfigError(f"dtype=bf16: goes with loop.precision=bf16, got {config.loop.precision}")
    if config.loop.compile:
        raise ConfigError("loop.compile=true: batches have many lengths, each of which would be compiled; leave it out")
