"""A captioner that is served: which model, hosted where, and what a request that names nothing gets."""

from typing import Literal, Self

from pydantic import Field, model_validator

from dermray import weights
from dermray.captioning import prompts
from dermray.captioning.compose import METADATA
from dermray.captioning.settings import RemoteConfig, Sampling, VllmConfig
from dermray.config import ConfigError
from dermray.serving.replicas import NAME, Autoscaling, Replicas

OF_REPLICAS = ("replicas", "cpus", "gpus")  # of `engine`: a replica has one engine


class ServedCaptioner(Replicas):
    """Describes images in words, as the caption stage does. An engine in each replica, or a client of an endpoint."""

    task: Literal["captioning"]
    name: str = Field(pattern=NAME, description="as clients call it, and its deployment's name")
    model: str | None = Field(
        None,
        description="result of the captioner or the tune-vlm stage, a model directory, an s3:// URI or a hub id; "
        "without `remote`",
    )
    remote: RemoteConfig | None = Field(None, description="an OpenAI-compatible endpoint instead")
    engine: VllmConfig = Field(VllmConfig(), description="as of the caption stage, but for its replicas, cpus and gpus")
    gpus_per_replica: float = Field(0, ge=0)
    prompt_set: str = Field("abc", description=f"where a request names none: one of {prompts.NAMES}")
    metadata: tuple[str, ...] = Field(
        ("malignant", "skin_tone"), description=f"of a request, joined into the caption: out of {METADATA}"
    )
    sampling: Sampling = Field(Sampling(), description="where a request says nothing else")
    image_side: int = Field(1024, ge=16, description="px; larger images are made smaller for the engine")

    @property
    def source(self) -> str:
        """Where it comes from, as users are told."""
        return self.model or f"{self.host.model} at {self.host.base_url}"  # type: ignore[union-attr]  # one is given

    @property
    def host(self) -> VllmConfig | RemoteConfig:
        """Who answers, with what one replica has of it."""
        if self.remote is not None:
            most = self.replicas.max_replicas if isinstance(self.replicas, Autoscaling) else self.replicas
            return self.remote.model_copy(update={"replicas": most})  # which share its requests a minute
        workers = self.engine.tensor_parallel_size
        return self.engine.model_copy(update={"cpus": self.cpus_per_replica, "gpus": self.gpus_per_replica / workers})

    @model_validator(mode="after")
    def _one_host(self) -> Self:
        if (self.model is None) == (self.remote is None):
            raise ConfigError("give either model (which vLLM hosts here) or remote (an endpoint), not both")
        if self.remote is not None and self.remote.replicas != 1:
            raise ConfigError("remote.replicas: leave it out, and give `replicas` of the model")
        for name in OF_REPLICAS:
            if getattr(self.engine, name) != VllmConfig.model_fields[name].default:
                raise ConfigError(f"engine.{name}: leave it out, and give replicas, cpus_per_replica, gpus_per_replica")
        if self.engine.pipeline_parallel_size != 1:
            raise ConfigError(
                "engine.pipeline_parallel_size: expected 1, for a replica is on one node; serve such a model by "
                "`vllm serve` and give remote"
            )
        if isinstance(self.replicas, Autoscaling) and self.replicas.min_replicas < 1:
            raise ConfigError("replicas.min_replicas: expected at least 1: no request waits for an engine to start")
        if self.remote is not None and self.gpus_per_replica:
            raise ConfigError("gpus_per_replica: expected 0 with remote, whose replicas wait for answers")
        return self

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.prompt_set not in prompts.NAMES:
            raise ConfigError(f"prompt_set={self.prompt_set!r}: expected one of {prompts.NAMES}")
        if unknown := sorted(set(self.metadata) - set(METADATA)):
            raise ConfigError(f"metadata={unknown}: expected names out of {METADATA}")
        if self.remote is None and self.sampling.max_tokens >= self.engine.max_model_len:
            raise ConfigError(
                f"sampling.max_tokens={self.sampling.max_tokens}: expected less than engine.max_model_len="
                f"{self.engine.max_model_len}, which image, question and answer share"
            )
        if isinstance(self.host, VllmConfig) and not self.host.draws and self.sampling.temperature > 0:
            raise ConfigError(
                f"sampling.temperature={self.sampling.temperature:g}: expected 0 where gpus_per_replica=0: vLLM "
                "0.29 draws by a seed on GPUs alone; or give gpus_per_replica, or remote"
            )
        return self

    @model_validator(mode="after")
    def _only_known_code_runs(self) -> Self:
        """A branch or tag of the hub may be other code tomorrow; a commit may not."""
        trusts = self.engine.trust_remote_code and self.model is not None and weights.may_change(self.model)
        if trusts and not weights.is_commit(self.engine.revision):
            raise ConfigError(
                f"engine.trust_remote_code=true: runs Python from {self.model}; expected engine.revision to be a "
                f"commit, 40 hex digits, got {self.engine.revision!r}; or give a model directory"
            )
        return self
