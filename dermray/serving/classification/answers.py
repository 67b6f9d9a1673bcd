"""What POST /v1/classifications answers."""

import base64
from typing import Literal

from pydantic import BaseModel, Field

from dermray.classification import saliency
from dermray.classification.targets import BINARY, MALIGNANT
from dermray.serving.classification.replica import About, Score
from dermray.serving.errors import ErrorBody

NOTICE = "Research software. Not a medical device; not for diagnosis."
Probabilities = dict[str, float]


class OperatingPointSaid(BaseModel):
    """Where malignant begins. Chosen on the validation split, of which its rates are; on other images expect less."""

    threshold: float = Field(description="of the probability of malignant")
    sensitivity: float
    specificity: float
    malignant: int = Field(description="images of the validation split")
    benign: int


class OutOfDistribution(BaseModel):
    """Whether an image looks like none that the classifier was trained on; its probabilities mean nothing then."""

    score: float = Field(description="distance to its 5th neighbour among training images' features (Sun et al. 2022)")
    threshold: float
    false_alarm_rate: float = Field(description="at most, on images like those of the validation split")
    flagged: bool


class SaliencySaid(BaseModel):
    """What the answer depends on."""

    b64_json: str = Field(description="PNG")
    method: str = saliency.METHOD
    largest_fall: float = Field(description="of the probability, where covering a square lowers it most")


class ImageResult(BaseModel):
    """Of one image, in the place in which it was sent. With an error the rest is null."""

    index: int
    sample_id: str | None = Field(description="SHA-256 of the uploaded bytes; null of images that are too large")
    predicted: str | None = Field(None, description="by the operating point where there is one; else the most probable")
    malignant: float | None = Field(None, description="probability, of a classifier of malignant against benign")
    probabilities: Probabilities | None = None
    out_of_distribution: OutOfDistribution | None = Field(None, description="null of classifiers saved without it")
    saliency: SaliencySaid | None = None
    error: ErrorBody | None = None


class ClassificationResponse(BaseModel):
    """Scores, and no diagnosis. To one image, its own result is repeated at the top."""

    object: Literal["classification"] = "classification"
    model: str
    version: str = Field(description="of the model's weights")
    column: str = Field(description="label that is told apart")
    classes: list[str]
    calibrated: bool = Field(description="whether probabilities were scaled by a temperature of the validation split")
    temperature: float | None
    operating_point: OperatingPointSaid | None
    data: list[ImageResult]
    sample_id: str | None = None
    predicted: str | None = None
    malignant: float | None = None
    notice: str = NOTICE


def response(model: str, about: About, results: list[ImageResult]) -> ClassificationResponse:
    """The whole of it."""
    point = OperatingPointSaid(**vars(about.operating_point)) if about.operating_point else None
    only = ("sample_id", "predicted", "malignant") if len(results) == 1 else ()
    return ClassificationResponse(
        model=model, version=about.version, column=about.column, classes=list(about.classes),
        calibrated=about.temperature is not None, temperature=about.temperature, operating_point=point,
        data=results, **{name: getattr(results[0], name) for name in only},
    )  # fmt: skip


def results(fitting: list[bool], scores: list[Score], about: About, most: int) -> list[ImageResult]:
    """A result for each image in order.

    Args:
        fitting: which images were small enough to be scored, at most `most` bytes. scores: of these.
    """
    found = iter(scores)
    return [
        _result(index, next(found), about) if fits else _failed(index, f"larger than {most} bytes", "too_large")
        for index, fits in enumerate(fitting)
    ]


def _result(index: int, score: Score, about: About) -> ImageResult:
    if score.reason is not None:
        return _failed(index, score.reason, "bad_image", score.sample_id)
    named = dict(zip(about.classes, score.probabilities, strict=True))
    return ImageResult(
        index=index, sample_id=score.sample_id, predicted=about.classes[score.predicted], probabilities=named,
        malignant=named[MALIGNANT] if about.column == BINARY else None, out_of_distribution=_strange(score, about),
    )  # fmt: skip


def _failed(index: int, reason: str, code: str, sample_id: str | None = None) -> ImageResult:
    error = ErrorBody(message=f"image {index}: {reason}", type="invalid_request_error", param="image", code=code)
    return ImageResult(index=index, sample_id=sample_id, error=error)


def _strange(score: Score, about: About) -> OutOfDistribution | None:
    if score.strangeness is None or about.strange_above is None or about.false_alarm_rate is None:
        return None
    return OutOfDistribution(
        score=score.strangeness, threshold=about.strange_above, false_alarm_rate=about.false_alarm_rate,
        flagged=score.strangeness > about.strange_above,
    )  # fmt: skip


def explained(png: bytes, largest_fall: float) -> SaliencySaid:
    """A saliency picture."""
    return SaliencySaid(b64_json=base64.b64encode(png).decode(), largest_fall=largest_fall)
