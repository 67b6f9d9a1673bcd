"""What the endpoints take and give."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_SEED = 1 << 53  # JavaScript reads larger integers wrong, and its clients could not draw an image again


def _a_number(value: Any) -> Any:
    if isinstance(value, bool | str):  # pydantic makes 1 of true and of "1", which OpenAPI says are no numbers
        raise ValueError("expected a number")
    return value


NUMBER = BeforeValidator(_a_number)


class GenerationRequest(BaseModel):
    """One prompt, and how its images are drawn. What may be asked for at most is config's (`Limits`)."""

    model_config = ConfigDict(extra="forbid")
    prompt: str = Field(min_length=1, examples=["malignant, skin tone B: asymmetric lesion, irregular border, black."])
    model: str | None = Field(None, description="of GET /v1/models; the first generator if none is named")
    n: Annotated[int, Field(ge=1), NUMBER] = Field(1, description="images")
    seed: Annotated[int, Field(ge=0, lt=MAX_SEED), NUMBER] | None = Field(
        None, description="the same seed and prompt give the same pixels"
    )
    guidance_scale: Annotated[float, Field(ge=0, le=20), NUMBER] | None = None
    steps: Annotated[int, Field(ge=1), NUMBER] | None = None


class Reading(BaseModel):
    """How much of a prompt a generator reads."""

    refusal: str | None = Field(description="why nothing is drawn from it")
    unknown_words: list[str]
    warnings: list[str]


class GeneratedImage(BaseModel):
    """A PNG, and what it takes to draw it again."""

    b64_json: str
    seed: int
    sample_id: str = Field(description="SHA-256 of the PNG")


class GenerationResponse(BaseModel):
    """Images of one request."""

    created: int = Field(description="Unix seconds")
    model: str
    origin: Literal["synthetic"] = "synthetic"
    licence: str
    unknown_words: list[str] = Field([], description="words of the prompt that the generator does not know")
    warnings: list[str] = Field([], description="what of the prompt was cut off, unknown, or may not be understood")
    data: list[GeneratedImage]


class Model(BaseModel):
    """A model that is served."""

    id: str
    task: Literal["generation", "classification"]
    image_size: int = Field(description="px")
    licence: str | None = None


class ModelList(BaseModel):
    """All of them."""

    data: list[Model]


class Health(BaseModel):
    """Whether the service answers."""

    status: Literal["ok"] = "ok"
