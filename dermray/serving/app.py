"""The HTTP application: `build` for `serve deploy`, `serve_run` for `dermray serve`."""

import asyncio
import base64
import os
import secrets
import socket
import time
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, UploadFile
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve.config import BackpressureConfig
from ray.serve.handle import DeploymentHandle

from dermray import manifest, storage
from dermray.datasets.decode import EXPECTED, BadImage, decode, square
from dermray.records import sample_id
from dermray.serving.auth import KEYS_VARIABLE, keys_from_environment, require_key
from dermray.serving.classification import Classification
from dermray.serving.generation import Generation
from dermray.serving.schemas import (
    MAX_UPLOAD,
    MAX_UPLOAD_PIXELS,
    ClassificationResponse,
    GeneratedImage,
    GenerationRequest,
    GenerationResponse,
    Health,
    Model,
    ModelList,
    Reading,
)

MAX_QUEUED = 64  # requests waiting at the door; those beyond are told 429 and when to come back

api = FastAPI(
    title="dermray",
    version="1",
    description="Synthetic skin-lesion images, and a research classifier. Not a medical device.",
)
key = Depends(require_key(keys_from_environment))


@serve.deployment(
    max_ongoing_requests=32,
    max_queued_requests=MAX_QUEUED,
    backpressure_config=BackpressureConfig(status_code=429, retry_after_s=3),
)
@serve.ingress(api)
class Api:
    """The endpoints. One bounded queue, here: a full queue further in would break off half-answered requests."""

    def __init__(self, generation: DeploymentHandle, classification: DeploymentHandle) -> None:
        keys_from_environment()
        self.generation, self.classification = generation, classification

    @api.get("/healthz")
    async def health(self) -> Health:
        """Answers as soon as requests can be served; needs no key."""
        return Health()

    @api.get("/v1/models", dependencies=[key])
    async def models(self) -> ModelList:
        """What is served."""
        drawn, scored = await asyncio.gather(self.generation.about.remote(), self.classification.about.remote())
        return ModelList(
            data=[
                Model(id=drawn["id"], task="generation", image_size=drawn["image_size"]),
                Model(id=scored["id"], task="classification", image_size=scored["image_size"]),
            ]
        )

    @api.post("/v1/images/generations", dependencies=[key])
    async def generate(self, request: GenerationRequest) -> GenerationResponse:
        """Draw images from a prompt. 422 where most of its words are unknown, or it is longer than what is read."""
        reading: Reading = await self.generation.read.remote(request.prompt)
        if reading.refusal:
            raise HTTPException(422, f"prompt: {reading.refusal}")
        first = secrets.randbelow(1 << 62) if request.seed is None else request.seed
        seeds = [(first + i) % (1 << 62) for i in range(request.n)]
        drawings = [(request.prompt, seed, request.guidance_scale, request.steps) for seed in seeds]
        about = self.generation.about.remote()
        images = await asyncio.gather(*(self.generation.draw.remote(drawing) for drawing in drawings))
        model = await about
        return GenerationResponse(
            created=int(time.time()),
            model=model["id"],
            licence=model["licence"],
            unknown_words=reading.unknown_words,
            warnings=reading.warnings,
            data=[
                GeneratedImage(b64_json=base64.b64encode(png).decode(), seed=seed, sample_id=sample_id(png))
                for png, seed in zip(images, seeds, strict=True)
            ],
        )

    @api.post("/v1/classifications", dependencies=[key])
    async def classify(self, image: Annotated[UploadFile, f"a file of {EXPECTED}"]) -> ClassificationResponse:
        """Score one image: JPEG, PNG, WebP, TIFF, BMP or GIF, at most 10 MiB and 50 megapixels."""
        data = await image.read(MAX_UPLOAD + 1)
        if len(data) > MAX_UPLOAD:
            raise HTTPException(413, f"image larger than {MAX_UPLOAD} bytes: send a smaller one")
        about = await self.classification.about.remote()
        try:
            pixels = await asyncio.to_thread(lambda: square(decode(data, MAX_UPLOAD_PIXELS), about["image_size"]))
        except BadImage as error:
            raise HTTPException(422, f"{error}: send {EXPECTED} of at most {MAX_UPLOAD_PIXELS} pixels") from None
        score = await self.classification.score.remote(pixels)
        return ClassificationResponse(model=about["id"], sample_id=sample_id(data), malignant=score)


class AppArguments(BaseModel):
    """`args` of the application in a Serve config file."""

    model_config = ConfigDict(extra="forbid")
    run: str


def build(arguments: AppArguments) -> serve.Application:
    """The application over a finished run's generator and classifier.

    Raises:
        FileNotFoundError: the run lacks a stage.
    """
    run = storage.normalise(arguments.run)
    train, sweep = (
        manifest.read(storage.join(run, "train"), "train"),
        manifest.read(storage.join(run, "sweep"), "sweep"),
    )
    application: serve.Application = Api.bind(Generation.bind(train.uri), Classification.bind(sweep.uri))  # type: ignore[attr-defined]  # serve.deployment adds bind
    return application


def serve_run(run: str, host: str, port: int) -> None:
    """Serve a finished run until interrupted. Without keys in the environment one is made and printed.

    Raises:
        OSError: the port is taken.
        FileNotFoundError: no finished run.
    """
    manifest.read(storage.join(storage.normalise(run), "sweep"), "sweep")
    require_free_port(host, port)
    if not os.environ.get(KEYS_VARIABLE):
        os.environ[KEYS_VARIABLE] = secrets.token_urlsafe(24)
        print(f"API key for this service: {os.environ[KEYS_VARIABLE]}", flush=True)
    from dermray.cluster import connect

    connect()
    serve.start(http_options={"host": host, "port": port})
    serve.run(build(AppArguments(run=run)), name="dermray", route_prefix="/")
    print(f"serving on http://{host}:{port}  (documentation: http://{host}:{port}/docs); Ctrl-C ends it", flush=True)
    try:
        while True:
            time.sleep(3600)
    finally:
        serve.shutdown()


def require_free_port(host: str, port: int) -> None:
    """Refuse a taken port before anything is loaded.

    Raises:
        OSError: naming the port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise OSError(f"port {port} on {host}: {error.strerror}; choose another with --port") from None


def builder(arguments: dict[str, Any]) -> serve.Application:
    """What serve_configs/dermray.yaml imports."""
    return build(AppArguments(**arguments))
