"""What the service answers. Fields that a newer service adds are kept, as attributes."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from dermray.client.questions import decoded

if TYPE_CHECKING:
    from PIL.Image import Image


class Answer(BaseModel):
    """Of any kind."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Model(Answer):
    """A model that is served, by the name that requests give."""

    id: str
    task: str
    image_size: int = Field(description="px")
    sizes: list[int] = Field([], description="px, that a generator draws")
    negative_prompts: bool = False
    prompt_sets: list[str] = Field([], description="by which a captioner can be asked")
    licence: str | None = None
    version: str | None = Field(None, description="of the weights; with an adapter, of both")
    base: str | None = Field(None, description="of an adapter: the model that draws with it")


class SyntheticImage(Answer):
    """An image that was drawn. `seed`, with the same model and parameters, gives the same pixels again."""

    seed: int
    sample_id: str = Field(description="SHA-256 of the PNG")
    b64_json: str = Field(repr=False)
    revised_prompt: str | None = Field(None, description="what was drawn, where attributes were given")
    gate_distance: float | None = None

    @property
    def png(self) -> bytes:
        """As it was sent: its text says prompt, seed, model and licence."""
        return decoded(self.b64_json)

    def image(self) -> "Image":
        """RGB."""
        from PIL import Image

        return Image.open(io.BytesIO(self.png)).convert("RGB")

    def save(self, path: str | Path) -> None:
        """The PNG with its text, which Pillow would leave out."""
        Path(path).write_bytes(self.png)


class Refused(Answer):
    """A seed whose image lies too near to a training image."""

    seed: int
    gate_distance: float


class Generation(Answer):
    """Images of one request."""

    model: str
    licence: str
    size: str
    warnings: list[str] = []
    unknown_words: list[str] = []
    refused: list[Refused] = Field([], description="by the memorisation gate")
    data: list[SyntheticImage]


class JobImage(Answer):
    """An image of a job, and a link to it that works for a while, without a key."""

    index: int
    seed: int
    sample_id: str
    url: str = Field(repr=False)
    gate_distance: float | None = None


class Job(Answer):
    """Work that outlives its request, as far as it is."""

    id: str
    status: str = Field(description="queued, running, succeeded, failed or cancelled")
    model: str
    images: int = Field(description="that were asked for")
    images_done: int
    steps: int
    steps_done: int
    error: dict[str, Any] | None = None
    refused: list[Refused] = Field([], description="by the memorisation gate")
    data: list[JobImage] = []

    @property
    def over(self) -> bool:
        """Whether nothing will be done any more."""
        return self.status not in ("queued", "running")


class ImageScores(Answer):
    """Of one image, in the place in which it was given. Where `error` says what is wrong with it, the rest is None."""

    index: int
    sample_id: str | None = Field(None, description="SHA-256 of the bytes that were sent")
    predicted: str | None = None
    malignant: float | None = Field(None, description="probability, of a classifier of malignant against benign")
    probabilities: dict[str, float] | None = None
    out_of_distribution: dict[str, Any] | None = None
    saliency: dict[str, Any] | None = Field(None, repr=False)
    error: dict[str, Any] | None = None


class Classification(Answer):
    """Scores, and no diagnosis."""

    model: str
    version: str = Field(description="of the model's weights")
    column: str = Field(description="label that is told apart")
    classes: list[str]
    calibrated: bool
    temperature: float | None = None
    operating_point: dict[str, Any] | None = None
    data: list[ImageScores]
    notice: str

    def joined(self, other: "Classification") -> "Classification":
        """With the scores of the images that came after, numbered on.

        Raises:
            RuntimeError: another version answered, so that the scores do not compare.
        """
        if (other.model, other.version) != (self.model, self.version):
            raise RuntimeError(
                f"{self.model} was replaced while images were scored (version {self.version}, then {other.version}), "
                "so that their scores do not compare; ask again"
            )
        more = [scores.model_copy(update={"index": scores.index + len(self.data)}) for scores in other.data]
        return self.model_copy(update={"data": [*self.data, *more]})


class ImageCaption(Answer):
    """Of one image, in the place in which it was given. `status` is ok, rejected or failed, and `reason` says why."""

    index: int
    sample_id: str | None = Field(None, description="SHA-256 of the bytes that were sent")
    status: str
    reason: str | None = None
    caption: str | None = Field(None, description="metadata joined with the answer")
    answer: str | None = Field(None, description="the captioner's own words")
    said_asymmetry: bool | None = None
    said_border_irregular: bool | None = None
    said_colours: list[str] | None = None
    said_skin_tone: str | None = None
    said_structures: list[str] | None = None
    pairs: list[dict[str, str]] | None = Field(None, description="question and answer, of clinical-qa")
    prompt_hash: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    finish_reason: str | None = None


class Captions(Answer):
    """Of one call. A model wrote them: no diagnosis."""

    model: str
    captioner: str
    captioner_revision: str | None = None
    prompt_set: str
    prompt_version: str
    sampling: dict[str, Any]
    data: list[ImageCaption]
    notice: str

    def joined(self, other: "Captions") -> "Captions":
        """With the captions of the images that came after, numbered on.

        Raises:
            RuntimeError: another captioner answered, or another version of the prompt set.
        """
        mine, others = ((o.captioner, o.captioner_revision, o.prompt_set, o.prompt_version) for o in (self, other))
        if mine != others:
            raise RuntimeError(
                f"{self.model} was replaced while images were captioned ({mine}, then {others}); ask again"
            )
        more = [said.model_copy(update={"index": said.index + len(self.data)}) for said in other.data]
        return self.model_copy(update={"data": [*self.data, *more]})
