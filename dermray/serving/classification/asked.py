"""What a request to POST /v1/classifications asks for, from multipart or JSON."""

import asyncio
import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from dermray.datasets.decode import EXPECTED
from dermray.serving.classification.multipart import Part, parts_of
from dermray.serving.door.rules import FORM, JSON
from dermray.serving.errors import ApiError
from dermray.serving.settings import Limits

IMAGE, IMAGES = "image", "images"
LARGE_BODY = 64 << 10  # bytes: JSON of more is read in a thread
SAID = {"true": True, "1": True, "false": False, "0": False}
Encoded = Annotated[str, Field(description=f"base64 or a data URL of {EXPECTED}")]


class ImagesAsJson(BaseModel):
    """One as `image`, or several as `images`."""

    model_config = ConfigDict(extra="forbid")
    image: Encoded | None = None
    images: list[Encoded] | None = None


class ClassificationRequest(ImagesAsJson):
    """Images as JSON: one as `image`, or several as `images`."""

    model: str | None = Field(None, description="of GET /v1/models; the first classifier if none is named")
    saliency: bool = Field(
        False, strict=True, description="a picture of what the answer depends on, for up to 4 images"
    )


@dataclass(frozen=True)
class Asked:
    """What is to be scored, by what."""

    images: list[bytes]
    model: str | None
    saliency: bool


class WithImages(Protocol):
    """What a request asks about."""

    @property
    def images(self) -> list[bytes]:
        """Encoded."""


A = TypeVar("A", bound=WithImages)


async def read(request: Request, limits: Limits) -> Asked:
    """The whole request; raises as `read_as` does."""
    return await read_as(request, limits, _of_parts, _of_json)


async def read_as(
    request: Request, limits: Limits, of_parts: Callable[[list[Part]], A], of_json: Callable[[bytes], A]
) -> A:
    """What of its form or its JSON is made, with one image at least and as many as are allowed at most.

    Raises:
        ApiError: 400, 413 or 415. RequestValidationError: JSON that does not fit.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == FORM:
        asked = of_parts(await parts_of(request, limits.images_scored))
    elif kind == JSON:
        body = await request.body()
        asked = of_json(body) if len(body) <= LARGE_BODY else await asyncio.to_thread(of_json, body)
    else:
        raise ApiError(
            415, f"content-type {kind[:80]!r}: send {FORM} with the field {IMAGE}, or {JSON}",
            param="content-type", code="unsupported_media_type",
        )  # fmt: skip
    if not asked.images:
        raise ApiError(400, f"{IMAGE}: none; send a file of {EXPECTED}", param=IMAGE, code="missing_image")
    if len(asked.images) > limits.images_scored:
        raise _too_many(limits.images_scored)
    return asked


def _too_many(most: int) -> ApiError:
    return ApiError(
        400, f"{IMAGES}: expected at most {most} in one request; send more requests", param=IMAGES, code="too_many"
    )


def split(parts: list[Part], known: tuple[str, ...]) -> tuple[list[bytes], dict[str, bytes]]:
    """Images, and the other fields by their names, each of them once; raises ApiError 400 on others."""
    images, fields = list[bytes](), dict[str, bytes]()
    for part in parts:
        if part.name in (IMAGE, IMAGES, f"{IMAGES}[]"):
            images.append(part.data)
        elif part.name in known and part.name not in fields:
            fields[part.name] = part.data
        else:
            others = f"{', '.join(known[:-1])} and {known[-1]}"
            raise ApiError(
                400, f"field {part.name[:80]!r}: expected {IMAGE} (repeated for several), and {others} once",
                param=part.name[:80], code="unknown_field",
            )  # fmt: skip
    return images, fields


def _of_parts(parts: list[Part]) -> Asked:
    images, given = split(parts, ("model", "saliency"))
    fields = {name: data.decode("utf-8", "replace")[:200] for name, data in given.items()}
    said = fields.get("saliency", "false").strip().lower()
    if said not in SAID:
        raise ApiError(400, f"saliency={said!r}: expected true or false", param="saliency", code="invalid_value")
    return Asked(images, fields.get("model") or None, SAID[said])


def _of_json(body: bytes) -> Asked:
    try:
        request = ClassificationRequest.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_input=False, include_url=False)) from None
    return Asked(images_of(request), request.model, request.saliency)


def images_of(request: ImagesAsJson) -> list[bytes]:
    """Of base64; raises ApiError 400 where one is none."""
    if request.image is not None and request.images is not None:
        raise ApiError(400, f"{IMAGE} and {IMAGES}: give one of them", param=IMAGES, code="invalid_value")
    encoded = request.images or [] if request.image is None else [request.image]
    return [_bytes_of(text, number) for number, text in enumerate(encoded)]


def _bytes_of(text: str, number: int) -> bytes:
    """Of base64 or a data URL."""
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise _not_base64(number, "a data URL without ;base64,")
    try:
        if "\n" in text:  # what the command base64 writes is broken into lines, as MIME has it
            text = text.replace("\r\n", "").replace("\n", "")
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        raise _not_base64(number, "not base64") from None


def _not_base64(number: int, what: str) -> ApiError:
    return ApiError(
        400, f"image {number}: {what}; send base64 of the file's bytes, or data:image/png;base64,...",
        param=IMAGES, code="bad_base64",
    )  # fmt: skip


def body_schema() -> dict[str, Any]:
    """What OpenAPI says of the body."""
    fields = {"model": {"type": "string"}, "saliency": {"type": "boolean"}}
    return described(fields, ClassificationRequest.model_json_schema())


def described(fields: dict[str, Any], as_json: dict[str, Any]) -> dict[str, Any]:
    """A body with images: as a form with other fields, or as JSON."""
    file = {"type": "string", "format": "binary", "description": f"a file of {EXPECTED}"}
    images = {"type": "array", "items": file, "minItems": 1, "description": "one file, or several"}
    form = {
        "type": "object", "required": [IMAGE], "properties": {IMAGE: images} | fields, "additionalProperties": False
    }  # fmt: skip
    return {"requestBody": {"required": True, "content": {FORM: {"schema": form}, JSON: {"schema": as_json}}}}
