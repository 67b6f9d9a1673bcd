"""The service's config: which models are served, on what, and what a request may ask for."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from dermray.config import Config, ConfigError
from dermray.provenance.settings import SigningConfig
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.replicas import NAME as NAME
from dermray.serving.replicas import Autoscaling as Autoscaling
from dermray.serving.replicas import Replicas as Replicas

INGRESS = "Api"  # the deployment of the HTTP endpoints, whose options a Serve config file may override by this name


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

    @property
    def source(self) -> str:
        """Where it comes from, as users are told."""
        return self.model

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if (self.device == "cuda") != (self.gpus_per_replica > 0):
            raise ConfigError(
                f"gpus_per_replica={self.gpus_per_replica:g}: expected more than 0 where device=cuda, and else 0; "
                f"got device={self.device}"
            )
        return self


class ServedAdapter(Config):
    """LoRA weights for a served generator's base, that requests name after a colon: `model: base:adapter`."""

    place: str = Field(
        description="a train stage's result, a directory that an adapter was saved in, or a .safetensors file of "
        "diffusers' or kohya's; here or in S3"
    )  # fmt: skip
    gate: str | None = Field(None, description="as of a model: result of a generate stage that used this adapter")
    licence: str | None = Field(None, description="where neither the result nor the file says it")


def _with_place(value: Any) -> Any:
    return {"place": value} if isinstance(value, str) else value


AdapterName = Annotated[str, Field(pattern=NAME)]


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
    adapters: dict[AdapterName, Annotated[ServedAdapter, BeforeValidator(_with_place)]] = Field(
        {}, description="by name; a place, or a mapping of place, gate and licence"
    )
    adapters_from: str | None = Field(
        None, description="directory or s3:// URI: whatever adapter lies in it is served, also one that comes later"
    )
    adapters_held: int = Field(4, ge=1, description="in a replica's memory; the one that was used least lately goes")
    guidance_scale: float = Field(2.0, ge=0, le=20, description="where a request names none")
    steps: int = Field(20, ge=1, le=1000, description="where a request names none")

    @property
    def takes_adapters(self) -> bool:
        """Whether requests may name adapters."""
        return bool(self.adapters or self.adapters_from)

    @model_validator(mode="after")
    def _adapted(self) -> Self:
        if self.compile and self.takes_adapters:
            raise ConfigError("compile=true: each change of adapter would compile anew; leave compile or adapters out")
        if self.gate is None:
            return self
        if self.adapters_from:
            raise ConfigError(
                f"adapters_from={self.adapters_from}: this model has a gate, and an adapter draws other images, which "
                "need a gate of their own; list them in adapters, each with place and gate"
            )
        if ungated := sorted(name for name, adapter in self.adapters.items() if adapter.gate is None):
            raise ConfigError(
                f"adapters: this model has a gate, and {', '.join(ungated)} none; an adapter draws other images: give "
                "each the result of a generate stage that used it as its gate"
            )
        return self


class ServedClassifier(ServedModel):
    """Scores images."""

    task: Literal["classification"]
    batch_size: int = Field(64, ge=1, description="images that are scored together")


class Limits(Config):
    """What one request may ask for, and how many may wait."""

    prompt: int = Field(1000, ge=1, description="characters")
    images_drawn: int = Field(8, ge=1, description="n of a generation")
    steps: int = Field(250, ge=1)
    images_scored: int = Field(64, ge=1, description="of a classification, or captioned of a request")
    caption_tokens: int = Field(1024, ge=1, description="max_tokens of a caption")
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


class Jobs(Config):
    """Of POST /v1/jobs: work that outlives its request. Several nodes need PostgreSQL, and a place that all see."""

    database: str | None = Field(
        None, description="URL of SQLAlchemy's; default: SQLite on this machine, in ~/.local/state/dermray/jobs"
    )
    place: str | None = Field(None, description="of images: directory or s3:// URI; default: beside that database")
    images: int = Field(1000, ge=1, description="n of a job at most")
    unfinished: int = Field(100, ge=1, description="jobs of a key that wait or are at work")
    at_once: int = Field(2, ge=1, description="jobs that one ingress replica works on")
    streams: int = Field(16, ge=1, description="of events that a key listens to, in one ingress replica")
    images_at_once: int = Field(8, ge=1, description="of a job, that are asked of a model together")
    days: float = Field(7, gt=0, description="that a finished job and its images are kept")
    link_seconds: int = Field(3600, ge=1, le=604_800, description="that a link to an image works; S3 allows 7 days")


class ReaderStudy(Config):
    """A blinded study that people read in a browser, at /reader-study/NAME."""

    name: str = Field(pattern=NAME, description="part of the page's address")
    study: str = Field(description="result of `dermray reader-study build`; its sealed key is not needed here")


class ServiceConfig(Config):
    """`args` of the application in a Serve config file, and the file of `dermray serve --config`."""

    run: str | None = Field(None, description="a finished run: serves its generator and its classifier")
    captioner: bool = Field(
        False, description="serve the run's captioner too: vLLM takes a CPU and gigabytes of memory, and starts slowly"
    )
    runs: tuple[str, ...] = Field(
        (), description="directories or s3:// URIs of finished runs, or of single results, whose pages are shown"
    )
    models: tuple[
        Annotated[ServedGenerator | ServedClassifier | ServedCaptioner, Field(discriminator="task")], ...
    ] = ()
    ingress: Ingress = Ingress()
    limits: Limits = Limits()
    drain_seconds: float = Field(
        130, gt=0, description="that a replica which is taken away has for its requests: more than request_timeout_s"
    )
    kept_images: KeptImages = KeptImages()
    jobs: Jobs = Jobs()
    reader_studies: tuple[ReaderStudy, ...] = Field((), description="answers are in the database of jobs")
    provenance: SigningConfig | None = Field(None, description="who signs the images that are drawn")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.run and not self.models and not self.reader_studies:
            raise ConfigError("models: none; expected at least one, or `run`, a finished run's directory")
        if self.captioner and not self.run:
            raise ConfigError("captioner=true: is about the captioner of a `run`; give one, or name it in models=[...]")
        names = [model.name for model in self.models]
        for what, given in (("models", names), ("reader_studies", [study.name for study in self.reader_studies])):
            if twice := {name for name in given if given.count(name) > 1}:
                raise ConfigError(f"{what}: expected a name of its own for each, got {', '.join(sorted(twice))} twice")
        if INGRESS in names:
            raise ConfigError(f"models: {INGRESS} is the name of the HTTP endpoints' deployment; choose another")
        return self
