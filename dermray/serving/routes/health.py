"""Whether the service answers."""

from fastapi import APIRouter

from dermray.serving.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def health() -> Health:
    """Answers as soon as the process runs; needs no key."""
    return Health()
