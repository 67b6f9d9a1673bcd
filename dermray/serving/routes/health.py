"""Whether the service lives, and whether it can work: two questions, as Kubernetes asks them. Neither needs a key."""

from fastapi import APIRouter

from dermray.serving.errors import ApiError
from dermray.serving.routes.shared import Served
from dermray.serving.schemas import Health

router = APIRouter(tags=["health"])


@router.head("/livez", include_in_schema=False)
@router.head("/healthz", include_in_schema=False)
@router.get("/livez")
@router.get("/healthz", operation_id="healthz")
async def alive() -> Health:
    """200 as soon as the process answers, also under load: restart it where this fails."""
    return Health()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz")
async def ready(service: Served) -> Health:
    """200 where every model answers; 503, naming those that do not: send requests elsewhere."""
    missing = await service.readiness.missing()
    if missing:
        named = ", ".join(f"{name} ({why})" for name, why in missing.items())
        raise ApiError(503, f"not ready: {named}", code="not_ready", headers={"Retry-After": "1"})
    return Health()
