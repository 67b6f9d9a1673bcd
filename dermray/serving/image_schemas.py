"""What POST /v1/images/generations takes and gives: OpenAI's fields, and this project's."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dermray.datasets.labels.words import MALIGNANT

MAX_SEED = 1 << 53  # JavaScript reads larger integers wrong, and its clients could not draw an image again


def _a_number(value: Any) -> Any:
    if isinstance(value, bool | str):  # pydantic makes 1 of true and of "1", which OpenAPI says are no numbers
        raise ValueError("expected a number")
    return value


def _a_truth_value(value: Any) -> Any:
    if not isinstance(value, bool):  # 0 equals False
        raise ValueError("expected true or false")
    return value


NUMBER, TRUTH = BeforeValidator(_a_number), BeforeValidator(_a_truth_value)


class Attributes(BaseModel):
    """A lesion in the words of the metadata that training prompts are written from."""

    model_config = ConfigDict(extra="forbid")
    malignant: Annotated[bool, TRUTH] | None = None
    entity: Literal["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"] | None = None
    skin_tone: Literal["A", "B", "C"] | None = Field(None, description="Fitzpatrick I-II, III-IV, V-VI")
    sex: Literal["female", "male"] | None = None
    age: Annotated[int, Field(ge=0, le=120), NUMBER] | None = Field(None, description="years")
    site: str | None = Field(None, min_length=1, max_length=60, description="of the body")

    @model_validator(mode="after")
    def _of_one_lesion(self) -> Self:
        known = None if self.entity is None else MALIGNANT[self.entity]
        if known is not None and self.malignant is not None and known != self.malignant:  # akiec may be either
            raise ValueError(f"malignant: {self.entity} is {'malignant' if known else 'benign'}; leave one of them out")
        return self


class GenerationRequest(BaseModel):
    """One prompt, and how its images are drawn. What may be asked for at most is config's (`Limits`).

    Fields of OpenAI's that have no meaning here are taken with the values that change nothing.
    """

    model_config = ConfigDict(extra="forbid")
    prompt: str | None = Field(None, examples=["malignant, skin tone B: asymmetric lesion, irregular border, black."])
    attributes: Attributes | None = Field(None, description="written before the prompt, as in training; or without one")
    model: str | None = Field(None, description="of GET /v1/models; the first generator if none is named")
    n: Annotated[int, Field(ge=1), NUMBER] | None = Field(
        None, description="images, 1 if not given: of the seeds seed, seed + 1, ..."
    )
    size: str | None = Field(None, description="WIDTHxHEIGHT or auto; GET /v1/models names a model's sizes")
    response_format: Literal["b64_json", "url"] | None = Field(None, description="b64_json if not given")
    seed: Annotated[int, Field(ge=0, lt=MAX_SEED), NUMBER] | None = Field(
        None, description="the same seed and parameters give the same pixels"
    )
    guidance_scale: Annotated[float, Field(ge=0, le=20, allow_inf_nan=False), NUMBER] | None = None
    steps: Annotated[int, Field(ge=1), NUMBER] | None = None
    negative_prompt: str | None = Field(None, description="what is led away from, where the model can")
    user: str | None = Field(None, max_length=512)
    safety_identifier: str | None = Field(None, max_length=512)
    output_format: Literal["png"] | None = None
    output_compression: Annotated[Literal[100], NUMBER] | None = None
    quality: Literal["auto", "standard"] | None = None
    background: Literal["auto", "opaque"] | None = None
    moderation: Literal["auto", "low"] | None = None
    stream: Annotated[Literal[False], TRUTH] | None = None
    partial_images: Annotated[Literal[0], NUMBER] | None = None


class GeneratedImage(BaseModel):
    """A PNG, and what it takes to draw it again."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = Field(None, description="what was drawn, where attributes were given")
    seed: int
    sample_id: str = Field(description="SHA-256 of the PNG")
    gate_distance: float | None = Field(
        None, description="to the nearest training image, as a share of what the gate allows, where a gate is set"
    )


class RefusedImage(BaseModel):
    """A seed whose image lies nearer to a training image than the gate allows; it is not served."""

    seed: int
    gate_distance: float


class GenerationResponse(BaseModel):
    """Images of one request."""

    created: int = Field(description="Unix seconds")
    model: str
    origin: Literal["synthetic"] = "synthetic"
    licence: str
    output_format: Literal["png"] = "png"
    size: str
    unknown_words: list[str] = Field([], description="words of the prompt that the generator does not know")
    warnings: list[str] = Field([], description="what of the prompt was cut off, unknown, or may not be understood")
    refused: list[RefusedImage] = Field([], description="by the memorisation gate")
    data: list[GeneratedImage]
