"""What a request for captions asks of a replica: everything in it checked, and what it leaves open settled."""

from typing import Any

from dermray.captioning import prompts
from dermray.captioning.settings import Sampling, VllmConfig
from dermray.records import sample_id
from dermray.serving.captions.asked import Asked, Metadata, Wishes
from dermray.serving.captions.settings import ServedCaptioner
from dermray.serving.captions.work import Work
from dermray.serving.errors import ApiError
from dermray.serving.settings import Limits


def settled(asked: Asked, model: ServedCaptioner, limits: Limits) -> Work:
    """The work, with all images of the request that are not too large.

    Raises:
        ApiError: 400 with the field; 413 where all images are too large.
    """
    name = _prompt_set(asked.wishes, model)
    sampling = _sampling(asked.wishes, model, limits)
    rows = _rows(asked, name)
    fitting = [(i, row) for i, row in zip(asked.images, rows, strict=True) if len(i) <= limits.image_bytes]
    if not fitting:
        raise ApiError(
            413, f"image larger than {limits.image_bytes} bytes: send a smaller one", param="image", code="too_large"
        )
    images = [image for image, _ in fitting]
    return Work(images, [row for _, row in fitting], name, sampling, limits.image_pixels)


def _prompt_set(wishes: Wishes, model: ServedCaptioner) -> str:
    name = wishes.prompt_set or model.prompt_set
    if name not in prompts.NAMES:
        there = ", ".join(prompts.NAMES)
        raise ApiError(
            400, f"prompt_set={name[:40]!r}: there are {there}", param="prompt_set", code="unknown_prompt_set"
        )
    return name


def _sampling(wishes: Wishes, model: ServedCaptioner, limits: Limits) -> Sampling:
    given = {name: getattr(wishes, name) for name in ("max_tokens", "temperature", "seed")}
    sampling = model.sampling.model_copy(update={name: value for name, value in given.items() if value is not None})
    most = limits.caption_tokens if model.remote else min(limits.caption_tokens, model.engine.max_model_len - 1)
    if wishes.max_tokens is not None and wishes.max_tokens > most:
        raise ApiError(
            400, f"max_tokens={wishes.max_tokens}: expected at most {most}", param="max_tokens", code="invalid_value"
        )
    if sampling.temperature > 0 and isinstance(model.host, VllmConfig) and not model.host.draws:
        raise ApiError(
            400, f"temperature={sampling.temperature:g}: expected 0: this model runs on CPUs, where vLLM cannot "
            "draw by a seed", param="temperature", code="invalid_value",
        )  # fmt: skip
    return sampling


def _rows(asked: Asked, prompt_set: str) -> list[dict[str, Any]]:
    """Of all images, in their order."""
    given = asked.wishes.metadata
    told = given if isinstance(given, list) else [given or Metadata()] * len(asked.images)
    if len(told) != len(asked.images):
        raise ApiError(
            400, f"metadata: {len(told)} objects for {len(asked.images)} images; give one for all, or one for each",
            param="metadata", code="invalid_value",
        )  # fmt: skip
    needs = prompts.prompt_set(prompt_set).needs
    for index, one in enumerate(told):
        if needs and all(getattr(one, name) is None for name in needs):
            raise ApiError(
                400, f"metadata of image {index}: prompt_set={prompt_set} tells the captioner {' or '.join(needs)}; "
                "give one of these at least, or choose another prompt_set", param="metadata", code="missing_metadata",
            )  # fmt: skip
    # by its id clinical-qa chooses its questions
    return [
        one.model_dump() | {"sample_id": sample_id(image)} for one, image in zip(told, asked.images, strict=True)
    ]  # fmt: skip
