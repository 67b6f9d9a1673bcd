"""How to train: the settings of the loop, and the learning rate as a function of the step."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dermray.config import Config, ConfigError, Count, HowFast
from dermray.train_loop import optimizers

# Untried with FSDP. Muon needs whole matrices; Prodigy adds up over all weights, which its library does not do across
# workers that have parts of them, but for FSDP1 on GPUs.
UNSHARDED: dict[str, tuple[Any, ...]] = {
    "precision": ("fp16",), "optimizer": ("adamw8bit", "muon", "prodigy"), "compile": (True,),
}  # fmt: skip


Decay = Annotated[float, Field(ge=0, lt=1)]


class Hopeless(RuntimeError):
    """What would fail again however often it is started."""


class LoopConfig(Config):
    """How to train."""

    steps: int = Field(0, ge=0, description="or `epochs`")
    epochs: float | None = Field(None, gt=0, description="instead of steps: how often each image is seen")
    batch_size: int = Field(32, ge=1, description="images per step, over all workers and accumulated parts")
    accumulate: HowFast[int] = Field(1, ge=1, description="parts that a worker's share of a batch is computed in")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of the forward pass; weights stay as built")
    gradient_checkpointing: bool = Field(False, description="compute activations again instead of keeping them")
    compile: bool = Field(False, description="torch.compile: minutes at the start, faster steps")
    optimizer: optimizers.Name = Field(
        "adamw",
        description="adamw8bit is bitsandbytes', on GPUs; muon learns in fewer steps what starts from scratch; prodigy "
        "finds the rate itself; lion keeps half of AdamW's state",
    )
    learning_rate: float = Field(
        default_factory=optimizers.default_rate, gt=0, description="default: 2e-3; 1 for prodigy, 2e-4 for lion"
    )
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="how the rate falls to 0")
    warmup_steps: int = Field(60, ge=0)
    decay_from: float = Field(0.5, ge=0, le=1, description="share of the steps after which the rate starts to fall")
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    clip_norm: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.999, ge=0, lt=1, description="0 for none")
    seed: int = Field(0, ge=0)
    # A batch is drawn for all workers together, so their number changes which noise is drawn and how sums are rounded,
    # not what is learned: a training that lost machines goes on with fewer, and says so.
    workers: HowFast[Count] = Field(1, description="a number, or [min, max]: as many as the cluster has room for")
    parallel: Literal["ddp", "fsdp"] = Field("ddp", description="fsdp shards weights that do not fit on one worker")
    cpus_per_worker: HowFast[float] = Field(1, gt=0)
    gpus_per_worker: float = Field(0, ge=0)
    checkpoint_every: int = Field(200, ge=1, description="steps")
    keep_checkpoints: HowFast[int] = Field(2, ge=1, description="the last so many; with keep_best the best so many")
    keep_best: bool = Field(False, description="the model is that of the least validation loss, not of the last step")
    log_every: int = Field(50, ge=1, description="steps")
    pictures_every: HowFast[int] = Field(1000, ge=1, description="steps between images in TensorBoard; also at the end")
    mlflow: HowFast[str | None] = Field(None, description="tracking URI of an MLflow server or directory")
    wandb: HowFast[str | None] = Field(None, description="project of Weights & Biases; its key: WANDB_API_KEY")
    max_failures: HowFast[int] = Field(3, ge=0, description="restarts from the last checkpoint after a worker failed")

    @property
    def least_and_most(self) -> tuple[int, int]:
        """Workers."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else self.workers

    def counted(self, images: int) -> Self:
        """With the steps that its epochs are where there are so many images; the last step may begin another epoch."""
        if self.epochs is None:
            return self
        return self.model_copy(update={"steps": math.ceil(self.epochs * images / self.batch_size), "epochs": None})

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        """What no field alone can say: a batch with an image for everybody, what FSDP and Muon go with."""
        most = self.least_and_most[1]
        if self.epochs is None and self.steps < 1:
            raise ConfigError(f"steps={self.steps}: expected at least 1, or epochs in its place")
        if self.epochs is not None and self.steps:
            raise ConfigError(f"epochs={self.epochs:g}: steps={self.steps} says it too; leave one of them out")
        if self.batch_size < most * self.accumulate:
            raise ConfigError(
                f"batch_size={self.batch_size}: expected at least one image for each of {most} workers in each of "
                f"{self.accumulate} accumulated parts, {most * self.accumulate}"
            )
        for name, values in UNSHARDED.items():
            if self.parallel == "fsdp" and (value := getattr(self, name)) in values:
                raise ConfigError(f"{name}={value}: does not go with parallel=fsdp; leave one of them out")
        gpus = self.gpus_per_worker
        if gpus > 1 and gpus != int(gpus):
            raise ConfigError(f"gpus_per_worker={gpus}: expected a share of one GPU, or a whole number of them")
        if 0 < gpus < 1 and most > 1:
            raise ConfigError(
                f"gpus_per_worker={gpus}: NCCL refuses two workers on one GPU; give gpus_per_worker=1, or workers=1"
            )
        if self.optimizer == "muon" and self.precision == "fp16":
            raise ConfigError("optimizer=muon: does not go with precision=fp16; take bf16 or fp32")
        if self.optimizer == "adamw8bit" and not self.gpus_per_worker:
            raise ConfigError("optimizer=adamw8bit: needs a GPU; give gpus_per_worker=1, or optimizer=adamw")
        optimizers.check_optimizer(self.optimizer, self.learning_rate)
        return self


def images_of(config: LoopConfig, rank: int, workers: int, part: int) -> int:
    """How many of a batch's images are worker `rank`'s in accumulated part `part`. The batch is dealt out like cards,
    to the workers and then to the parts of each, so that any number of workers shares any batch."""
    mine = len(range(rank, config.batch_size, workers))
    return len(range(part, mine, config.accumulate))


def learning_rate(step: int, config: LoopConfig) -> float:
    """Linear warm-up, then constant, then linearly or by half a cosine to zero from `decay_from` on."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    tail = config.steps * (1 - config.decay_from)
    left = min(1.0, (config.steps - step) / tail) if tail and config.schedule != "constant" else 1.0
    if config.schedule == "cosine":
        left = (1 - math.cos(math.pi * left)) / 2
    return config.learning_rate * warm * left
