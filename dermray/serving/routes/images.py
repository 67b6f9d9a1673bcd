"""POST /v1/images/generations, as OpenAI's."""

import base64
import secrets
import time

from fastapi import APIRouter

from dermray.records import sample_id
from dermray.serving.errors import ApiError
from dermray.serving.generation import Drawing
from dermray.serving.routes.shared import Asker, Served
from dermray.serving.schemas import MAX_SEED, GeneratedImage, GenerationRequest, GenerationResponse, Reading

router = APIRouter(tags=["images"])


@router.post("/images/generations")
async def generate(request: GenerationRequest, service: Served, key: Asker) -> GenerationResponse:
    """Draw images from a prompt. 400 where most of its words are unknown, or it is longer than what is read."""
    model, handle = service.generator(request.model)
    limits = service.config.limits
    for field, value, most in (("n", request.n, limits.images_drawn), ("steps", request.steps or 1, limits.steps)):
        if value > most:
            raise ApiError(400, f"{field}={value}: expected at most {most}", param=field, code="invalid_value")
    if len(request.prompt) > limits.prompt:
        raise ApiError(
            400, f"prompt: expected at most {limits.prompt} characters, got {len(request.prompt)}", param="prompt"
        )
    reading: Reading = await handle.read.remote(request.prompt)
    if reading.refusal:
        raise ApiError(400, f"prompt: {reading.refusal}", param="prompt", code="unreadable_prompt")
    service.quotas.images(key, request.n)
    first = secrets.randbelow(MAX_SEED) if request.seed is None else request.seed
    seeds = [(first + i) % MAX_SEED for i in range(request.n)]
    guidance = model.guidance_scale if request.guidance_scale is None else request.guidance_scale
    drawn = await handle.draw.remote(Drawing(request.prompt, seeds, guidance, request.steps or model.steps))
    about = await handle.about.remote()
    return GenerationResponse(
        created=int(time.time()),
        model=model.name,
        licence=about["licence"],
        unknown_words=reading.unknown_words,
        warnings=reading.warnings,
        data=[
            GeneratedImage(b64_json=base64.b64encode(png).decode(), seed=seed, sample_id=sample_id(png))
            for png, seed in zip(drawn, seeds, strict=True)
        ],
    )
