"""How many replicas a deployment has, and what each of them is given."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from dermray.config import Config, ConfigError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # of a model: part of a deployment's name and of URLs


class Autoscaling(Config):
    """As many replicas as the load needs, as Serve counts them; the fields are those of Serve's AutoscalingConfig."""

    min_replicas: int = Field(1, ge=0)
    initial_replicas: int | None = Field(None, ge=0, description="min_replicas if none")
    max_replicas: int = Field(ge=1)
    target_ongoing_requests: float = Field(8, gt=0, description="requests of a replica, waiting ones included")
    upscale_delay_s: float = Field(30, ge=0, description="how long there must be more than that before one is added")
    downscale_delay_s: float = Field(600, ge=0, description="how long there must be less before one is taken away")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ConfigError(f"min_replicas={self.min_replicas}: expected at most max_replicas={self.max_replicas}")
        first = self.min_replicas if self.initial_replicas is None else self.initial_replicas
        if not self.min_replicas <= first <= self.max_replicas:
            raise ConfigError(f"initial_replicas={first}: expected {self.min_replicas} to {self.max_replicas}")
        return self


class Replicas(Config):
    """How many replicas, and what each of them is given. Ray counts what is given; it does not bind CPUs."""

    replicas: Annotated[int, Field(ge=1)] | Autoscaling = 1
    cpus_per_replica: float = Field(1, gt=0)
    per_node: int | None = Field(None, ge=1, description="replicas on one node at most: that a dead one leaves others")
    resources: dict[str, float] = Field({}, description="of Ray's own, by name: accelerator_type:A100, or a node's")

    @property
    def at_first(self) -> int:
        """Replicas that must have room before the service is ready."""
        if not isinstance(self.replicas, Autoscaling):
            return self.replicas
        first = self.replicas.initial_replicas
        return self.replicas.min_replicas if first is None else first
