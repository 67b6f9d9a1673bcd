"""What a request to POST /v1/captions asks for, from multipart or JSON."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request

from dermray.captioning import prompts
from dermray.serving.classification.asked import ImagesAsJson, described, images_of, read_as, split
from dermray.serving.classification.multipart import Part
from dermray.serving.door.json_text import check_json
from dermray.serving.errors import ApiError
from dermray.serving.image_schemas import MAX_SEED
from dermray.serving.settings import Limits

FIELDS = ("model", "prompt_set", "metadata", "max_tokens", "temperature", "seed")
LONGEST = {"metadata": 64 << 10}  # bytes of a field of a form; of the others SHORT
SHORT = 200
Text = Annotated[str, Field(min_length=1, max_length=100)]


class Metadata(BaseModel):
    """What is known of an image, by the columns that rows have it in. Prompt sets tell the captioner some of it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    malignant: bool | None = None
    entity: Literal["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc", "other"] | None = None
    diagnosis: Text | None = Field(None, description="in the source's own word")
    modality: Literal["dermoscopic", "clinical"] | None = None
    skin_tone: Literal["A", "B", "C"] | None = Field(None, description="Fitzpatrick I-II, III-IV, V-VI")
    sex: Literal["female", "male"] | None = None
    age: float | None = Field(None, ge=0, le=120, description="years")
    site: Text | None = Field(None, description="of the body")


class Wishes(BaseModel):
    """How images are captioned. What is left open the service's config decides."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    model: str | None = Field(None, description="of GET /v1/models; the first captioner if none is named")
    prompt_set: str | None = Field(None, description=f"one of {', '.join(prompts.NAMES)}")
    metadata: Metadata | list[Metadata] | None = Field(None, description="of all images, or a list with each one's")
    max_tokens: int | None = Field(None, ge=1, description="of an answer; one that is cut off is rejected")
    temperature: float | None = Field(None, ge=0, le=2)
    seed: int | None = Field(None, ge=0, lt=MAX_SEED)


class CaptionRequest(ImagesAsJson, Wishes):
    """Images as JSON: one as `image`, or several as `images`."""


@dataclass(frozen=True)
class Asked:
    """What is to be captioned, and how."""

    images: list[bytes]
    wishes: Wishes


METADATA: TypeAdapter[Metadata | list[Metadata]] = TypeAdapter(Metadata | list[Metadata])


async def read(request: Request, limits: Limits) -> Asked:
    """The whole request.

    Raises:
        ApiError: 400, 413 or 415. RequestValidationError: fields that do not fit.
    """
    return await read_as(request, limits, _of_parts, _of_json)


def _of_json(body: bytes) -> Asked:
    try:
        request = CaptionRequest.model_validate_json(body, strict=True)  # "5" is no number
    except ValidationError as error:
        raise _invalid(error) from None
    return Asked(images_of(request), request)


def _of_parts(parts: list[Part]) -> Asked:
    images, fields = split(parts, FIELDS)
    for name, data in fields.items():
        if len(data) > (most := LONGEST.get(name, SHORT)):
            raise ApiError(400, f"{name}: expected at most {most} bytes", param=name, code="invalid_value")
    metadata = fields.pop("metadata", b"")
    texts = {name: text for name, data in fields.items() if (text := data.decode("utf-8", "replace"))}
    try:
        wishes = Wishes.model_validate_strings(texts)
    except ValidationError as error:
        raise _invalid(error) from None
    return Asked(images, wishes.model_copy(update={"metadata": _metadata(metadata)}))


def _metadata(text: bytes) -> Metadata | list[Metadata] | None:
    """Of a form, whose fields are texts."""
    if not text.strip():
        return None
    try:
        check_json(text)
        return METADATA.validate_json(text, strict=True)
    except ApiError as error:  # which speaks of a body
        said = error.message.removeprefix("body: ")
        raise ApiError(400, f"metadata: {said}; send a JSON object or a list", "metadata", error.code) from None
    except ValidationError as error:
        raise _invalid(error, "metadata") from None


def _invalid(error: ValidationError, *place: str) -> RequestValidationError:
    """As FastAPI raises it. Of a union the branch that was meant is told: a list, or one."""
    faults: list[Any] = error.errors(include_input=False, include_url=False)
    for fault in faults:
        where = [part for part in fault["loc"] if part not in ("Metadata", "list[Metadata]")]
        fault["loc"] = (*place, *where)
    # the other branch of the union says only that it is another type
    return RequestValidationError(sorted(faults, key=lambda fault: fault["type"] in ("model_type", "list_type")))


def body_schema() -> dict[str, Any]:
    """What OpenAPI says of the body."""
    told = CaptionRequest.model_json_schema()
    one = told.pop("$defs")["Metadata"]  # put where it is meant: a reference would lead out of this schema
    told["properties"]["metadata"]["anyOf"] = [one, {"type": "array", "items": one}, {"type": "null"}]
    text = {"type": "string"}
    fields = dict.fromkeys(("model", "prompt_set"), text) | {
        "metadata": text | {"description": "JSON: an object for all images, or a list with each one's"},
        "max_tokens": {"type": "integer", "minimum": 1},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "seed": {"type": "integer", "minimum": 0, "exclusiveMaximum": MAX_SEED},
    }
    return described(fields, told)
