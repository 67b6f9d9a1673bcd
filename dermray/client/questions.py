"""Requests to the service, as both clients send them."""

import base64
import io
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import quote

# Of one request. By default the service takes 64 images, 4 with saliency, and a body of 64 MiB.
MOST_IMAGES, MOST_EXPLAINED, MOST_BYTES = 64, 4, 48 << 20


@dataclass(frozen=True)
class Question:
    """A request, without host and key."""

    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)  # of httpx2

    def with_key(self, key: str | None) -> dict[str, Any]:
        """Its options with the key; without it, where a link leads elsewhere, to S3 say."""
        if key is None or self.path.startswith(("http://", "https://")):
            return self.options
        return self.options | {"headers": {**self.options.get("headers", {}), "Authorization": f"Bearer {key}"}}


class Drawing(TypedDict, total=False):
    """How images are drawn. What is not given, or None, is the service's choice."""

    attributes: dict[str, Any] | None  # malignant, entity, skin_tone, sex, age, site: written before the prompt
    model: str | None  # of `models()`; the first generator
    n: int | None  # images: of the seeds seed, seed + 1, ...
    seed: int | None  # the same seed and parameters give the same pixels
    size: str | None  # such as "512x512"
    steps: int | None
    guidance_scale: float | None
    negative_prompt: str | None


class Captioning(TypedDict, total=False):
    """How images are captioned. What is not given, or None, is the service's choice."""

    prompt_set: str | None  # of `Model.prompt_sets`
    metadata: dict[str, Any] | list[dict[str, Any]] | None  # malignant, skin_tone, sex, age, site, ...; or each image's
    model: str | None  # of `models()`; the first captioner
    max_tokens: int | None  # of an answer
    temperature: float | None
    seed: int | None


def key_of(given: str | None) -> str | None:
    """An API key, or DERMRAY_API_KEY."""
    return given or os.environ.get("DERMRAY_API_KEY") or None


def models() -> Question:
    """Which models there are."""
    return Question("GET", "/v1/models")


def job(prompt: str | None, drawing: Drawing) -> Question:
    """Images that take longer than a request. Sent again after a broken connection, it is the same job."""
    asked = generation(prompt, drawing)
    return Question("POST", "/v1/jobs", asked.options | {"headers": {"Idempotency-Key": secrets.token_urlsafe(24)}})


def of_job(method: str, identity: str) -> Question:
    """How far it is, or its end."""
    return Question(method, f"/v1/jobs/{quote(identity, safe='')}")


def generation(prompt: str | None, drawing: Drawing) -> Question:
    """Images from a prompt, from attributes, or both.

    Raises:
        ValueError: from neither.
    """
    given = {"prompt": prompt, **drawing}
    body = {name: value for name, value in given.items() if value is not None}
    if not body.keys() & {"prompt", "attributes"}:
        raise ValueError("expected a prompt, or attributes such as {'malignant': True, 'skin_tone': 'B'}")
    return Question("POST", "/v1/images/generations", {"json": body})


def classifications(images: Sequence[Any], model: str | None, saliency: bool) -> Iterator[Question]:
    """Scores of images, in requests of a size that the service takes.

    Raises:
        ValueError: there are none. FileNotFoundError, TypeError: see `encoded`.
    """
    if not images:
        raise ValueError("expected at least one image")
    fields = {name: value for name, value in (("model", model), ("saliency", "true" if saliency else None)) if value}
    for part in _parts(images, MOST_EXPLAINED if saliency else MOST_IMAGES):
        yield _about_images("/v1/classifications", part, fields)


def captions(images: Sequence[Any], captioning: Captioning) -> Iterator[Question]:
    """Captions of images, in requests of a size that the service takes.

    Raises:
        ValueError: there are none, or not as much metadata as images. FileNotFoundError, TypeError: see `encoded`.
    """
    if not images:
        raise ValueError("expected at least one image")
    given: dict[str, Any] = {name: value for name, value in captioning.items() if value is not None}
    metadata = given.pop("metadata", None)
    each = metadata if isinstance(metadata, list) else None
    if each is not None and len(each) != len(images):
        raise ValueError(f"metadata: {len(each)} for {len(images)} images; expected a dict for all, or one for each")
    first = 0
    for part in _parts(images, MOST_IMAGES):
        told = metadata if each is None else each[first : first + len(part)]
        fields = {name: str(value) for name, value in given.items()}
        yield _about_images("/v1/captions", part, fields | ({} if told is None else {"metadata": json.dumps(told)}))
        first += len(part)


def _parts(images: Sequence[Any], most: int) -> Iterator[list[bytes]]:
    part, size = list[bytes](), 0
    for image in images:
        data = encoded(image)
        if part and (len(part) == most or size + len(data) > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(data)
        size += len(data)
    if part:
        yield part


def _about_images(path: str, images: list[bytes], fields: dict[str, str]) -> Question:
    files = [("image", (f"{number}", data, "application/octet-stream")) for number, data in enumerate(images)]
    return Question("POST", path, {"files": files, "data": fields})


def encoded(image: Any) -> bytes:
    """The bytes of a path, of bytes as they are, or of a Pillow image as PNG.

    Raises:
        FileNotFoundError: no such file. TypeError: none of these.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | PathLike):
        return Path(image).read_bytes()
    if hasattr(image, "save") and hasattr(image, "mode"):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()
    raise TypeError(f"{type(image).__name__}: expected the path of an image, its bytes, or a PIL.Image")


def decoded(text: str) -> bytes:
    """Of base64."""
    return base64.b64decode(text)
