"""The service's config: which models are served, on what, and what a request may ask for."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dermray.config import Config, ConfigError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # of a model: part of a deployment's name and of URLs
INGRESS = "Api"  # the deployment of the HTTP endpoints, whose options a Serve config file may override by this name


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


class Ingress(Replicas):
    """The replicas of the HTTP endpoints. Each has limits, queue and quotas of its own: three of them let three times
    as many requests in."""


class ServedModel(Replicas):
    """A model, and the replicas that hold it."""

    name: str = Field(pattern=NAME, description="as clients call it, and its deployment's name")
    model: str = Field(description="a stage's result, a model's directory, an s3:// URI or a hub id")
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of what runs in every step")
    compile: bool = Field(False, description="by torch.compile: faster, after first requests that take minutes")
    gpus_per_replica: float = Field(0, ge=0)

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if (self.device == "cuda") != (self.gpus_per_replica > 0):
            raise ConfigError(
                f"gpus_per_replica={self.gpus_per_replica:g}: expected more than 0 where device=cuda, and else 0; "
                f"got device={self.device}"
            )
        return self


class ServedGenerator(ServedModel):
    """Draws images from prompts."""

    task: Literal["generation"]
    batch_size: int = Field(32, ge=1, description="images that are drawn together")
    rows: int = Field(
        4, ge=0, description="of each forward, filled up where there are fewer: a seed's bits then do not depend on "
        "what is drawn beside it. 0: as many as there are, and a pixel may differ by a level",
    )  # fmt: skip
    sizes: tuple[Annotated[int, Field(ge=32, multiple_of=32)], ...] = Field(
        (), description="px, beside the model's own, where its family draws any"
    )
    gate: str | None = Field(
        None, description="result of a generate stage that used this model: images nearer to a training image than its "
        "gate allows are not served",
    )  # fmt: skip
    guidance_scale: float = Field(2.0, ge=0, le=20, description="where a request names none")
    steps: int = Field(20, ge=1, le=1000, description="where a request names none")


class ServedClassifier(ServedModel):
    """Scores images."""

    task: Literal["classification"]
    batch_size: int = Field(64, ge=1, description="images that are scored together")


class Limits(Config):
    """What one request may ask for, and how many may wait."""

    prompt: int = Field(1000, ge=1, description="characters")
    images_drawn: int = Field(8, ge=1, description="n of a generation")
    steps: int = Field(250, ge=1)
    images_scored: int = Field(64, ge=1, description="of a classification")
    image_bytes: int = Field(10 << 20, ge=1)
    image_pixels: int = Field(50_000_000, ge=1)
    body_bytes: int = Field(64 << 20, ge=1, description="of a request")
    body_seconds: float = Field(30, gt=0, description="until the whole body is there")
    bodies_arriving: int = Field(32, ge=1, description="of a key, half-sent, in one ingress replica")
    bodies_bytes: int = Field(512 << 20, ge=1, description="of all bodies that one ingress replica holds")
    running: int = Field(64, ge=1, description="requests at work")
    queued: int = Field(64, ge=0, description="requests that wait for them; others are told 429 and when to come back")


class KeptImages(Config):
    """Of `response_format=url`."""

    place: str | None = Field(
        None, description="directory or s3:// URI, the same for all replicas; default: a temporary one of this machine"
    )
    seconds: int = Field(3600, ge=1)
    max_bytes: int = Field(1 << 30, ge=1)
    public_url: str | None = Field(None, description="how clients reach this service; default: as the request says")


class ServiceConfig(Config):
    """`args` of the application in a Serve config file, and the file of `dermray serve --config`."""

    run: str | None = Field(None, description="a finished run: serves its generator and its classifier")
    models: tuple[Annotated[ServedGenerator | ServedClassifier, Field(discriminator="task")], ...] = ()
    ingress: Ingress = Ingress()
    limits: Limits = Limits()
    drain_seconds: float = Field(
        130, gt=0, description="that a replica which is taken away has for its requests: more than request_timeout_s"
    )
    kept_images: KeptImages = KeptImages()

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.run and not self.models:
            raise ConfigError("models: none; expected at least one, or `run`, a finished run's directory")
        names = [model.name for model in self.models]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"models: expected a name of its own for each, got {', '.join(sorted(twice))} twice")
        if INGRESS in names:
            raise ConfigError(f"models: {INGRESS} is the name of the HTTP endpoints' deployment; choose another")
        return self
