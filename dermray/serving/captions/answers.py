"""What POST /v1/captions answers."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from dermray.captioning import prompts
from dermray.captioning.settings import Sampling
from dermray.serving.captions.work import Captioned, Work

NOTICE = "Written by a model. Research software. Not a medical device; not for diagnosis."


class Pair(BaseModel):
    """Of the prompt set clinical-qa."""

    question: str
    answer: str


class ImageCaption(BaseModel):
    """Of one image, in the place in which it was sent; the fields are columns of the caption stage's rows."""

    index: int
    sample_id: str | None = Field(description="SHA-256 of the uploaded bytes; null of images that are too large")
    status: Literal["ok", "rejected", "failed"] = Field(
        description="as the caption stage has it: rejected, what was answered may not become a caption, or the image "
        "cannot be read; failed, the captioner had no answer to it"
    )
    reason: str | None = Field(None, description="null when ok")
    caption: str | None = Field(None, description="metadata joined with the answer: what generators learn from")
    answer: str | None = Field(None, description="the captioner's own words, also of an answer that was rejected")
    said_asymmetry: bool | None = None
    said_border_irregular: bool | None = None
    said_colours: list[str] | None = None
    said_skin_tone: str | None = None
    said_structures: list[str] | None = None
    pairs: list[Pair] | None = None
    prompt_hash: str | None = Field(None, description="of the filled prompt")
    tokens_in: int | None = Field(None, description="the image's among them")
    tokens_out: int | None = None
    finish_reason: str | None = Field(None, description="stop, length, or thinking: cut before its answer began")


class SamplingSaid(BaseModel):
    """How tokens were drawn."""

    temperature: float
    top_p: float
    max_tokens: int
    seed: int


class CaptionResponse(BaseModel):
    """Captions. To one image, its status, reason and caption are repeated at the top."""

    object: Literal["captions"] = "captions"
    model: str
    captioner: str = Field(description="as rows of the caption stage name it")
    captioner_revision: str | None = Field(description="commit or fingerprint of its weights; null of remote ones")
    prompt_set: str
    prompt_version: str = Field(description="twelve hex digits that change with any word of the prompt set")
    sampling: SamplingSaid
    data: list[ImageCaption]
    status: str | None = None
    reason: str | None = None
    caption: str | None = None
    notice: str = NOTICE


def response(model: str, work: Work, captioned: Captioned, fitting: list[bool], most: int) -> CaptionResponse:
    """The whole of it.

    Args:
        fitting: which images were small enough to be looked at, at most `most` bytes.
    """
    rows = iter(captioned.rows)
    data = [
        _said(index, next(rows)) if fits else ImageCaption(
            index=index, sample_id=None, status="rejected", reason=f"larger than {most} bytes"
        )
        for index, fits in enumerate(fitting)
    ]  # fmt: skip
    only = {name: getattr(data[0], name) for name in ("status", "reason", "caption")} if len(data) == 1 else {}
    return CaptionResponse(
        model=model, captioner=captioned.captioner, captioner_revision=captioned.revision, prompt_set=work.prompt_set,
        prompt_version=prompts.version(work.prompt_set), sampling=_sampling(work.sampling), data=data, **only,
    )  # fmt: skip


def _said(index: int, row: dict[str, Any]) -> ImageCaption:
    return ImageCaption(index=index, **{name: row[name] for name in ImageCaption.model_fields if name != "index"})


def _sampling(sampling: Sampling) -> SamplingSaid:
    return SamplingSaid(**sampling.model_dump())
