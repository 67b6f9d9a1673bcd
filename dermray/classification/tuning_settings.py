"""How trials are run and who is told, which decides nothing of what comes out."""

import importlib.util
from typing import Any, Self

from pydantic import Field, model_validator

from dermray.config import Config, ConfigError


class TuneSettings(Config):
    """How many trials run at a time, what each takes, and which trackers follow them."""

    concurrent: int = Field(2, ge=1, description="trials at a time, if the cluster has room for so many")
    cpus_per_trial: float = Field(1, gt=0, description="of each worker of a trial that has several")
    gpus_per_trial: float = Field(0, ge=0, description="the same; 0.25: four trials share a GPU")
    mlflow: str | None = Field(None, description="tracking URI of MLflow; a run a trial")
    wandb: str | None = Field(None, description="project of Weights & Biases; its key is read from WANDB_API_KEY")

    @model_validator(mode="after")
    def _installed(self) -> Self:
        for name in ("mlflow", "wandb"):
            if getattr(self, name) and importlib.util.find_spec(name) is None:
                raise ConfigError(f"{name}={getattr(self, name)}: needs {name}: pip install 'dermray[{name}]'")
        return self

    def callbacks(self, group: str) -> list[Any]:
        """Ray Tune's callbacks of the trackers; it adds CSV, JSON and TensorBoard itself.

        Args:
            group: what the trackers file a sweep's trials under.
        """
        if not (self.mlflow or self.wandb):
            return []
        from dermray.classification.tracking import trackers

        return trackers(self.mlflow, self.wandb, group)
