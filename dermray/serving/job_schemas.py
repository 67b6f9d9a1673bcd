"""What POST /v1/jobs takes and gives."""

from typing import Literal

from pydantic import BaseModel, Field

from dermray.serving.image_schemas import GenerationRequest, RefusedImage


class JobRequest(GenerationRequest):
    """As POST /v1/images/generations takes it, for more images."""

    response_format: Literal["url"] | None = Field(None, description="images of jobs are fetched by their links")


class JobImageSaid(BaseModel):
    """An image that is there."""

    index: int
    seed: int
    sample_id: str = Field(description="SHA-256 of the PNG")
    url: str = Field(description="works without a key, for a while; a later GET gives another")
    gate_distance: float | None = None


class JobError(BaseModel):
    """Why it failed."""

    message: str
    param: str | None = None
    code: str | None = None


class JobSaid(BaseModel):
    """A job, as far as it is."""

    id: str
    object: Literal["job"] = "job"
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    created: int = Field(description="Unix seconds")
    changed: int
    model: str
    version: str = Field(description="of the model's weights: of all images of the job")
    origin: Literal["synthetic"] = "synthetic"
    licence: str
    size: str
    warnings: list[str] = []
    unknown_words: list[str] = []
    images: int = Field(description="that were asked for")
    images_done: int = Field(description="refused ones included")
    steps: int = Field(description="of all images")
    steps_done: int
    error: JobError | None = None
    refused: list[RefusedImage] = Field([], description="by the memorisation gate; none is drawn in their place")
    data: list[JobImageSaid] = []


class JobList(BaseModel):
    """A key's newest jobs, without their images."""

    object: Literal["list"] = "list"
    data: list[JobSaid]
