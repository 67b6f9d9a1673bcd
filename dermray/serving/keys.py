"""API keys: `Authorization: Bearer <key>`, compared in constant time."""

import hmac
import os
from collections.abc import Callable

from fastapi import Header, HTTPException

KEYS_VARIABLE = "DERMRAY_API_KEYS"


def keys_from_environment() -> list[str]:
    """The accepted keys, comma-separated in DERMRAY_API_KEYS.

    Raises:
        ValueError: none set: a service without keys must not start by accident.
    """
    keys = [key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip()]
    if not keys:
        raise ValueError(
            f"{KEYS_VARIABLE} is not set: give the API keys that may use this service, separated by commas"
        )
    return keys


def require_key(keys: Callable[[], list[str]]) -> Callable[[str | None], None]:
    """A FastAPI dependency that answers 401 to requests without one of `keys()`."""

    def check(authorization: str | None = Header(None)) -> None:
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise HTTPException(
                401, "API key missing: send Authorization: Bearer <key>", {"WWW-Authenticate": "Bearer"}
            )
        # every key is compared, so that the time taken tells nothing about which one came close
        matches = [hmac.compare_digest(given.encode(), key.encode()) for key in keys()]
        if not any(matches):
            raise HTTPException(401, "API key not accepted", {"WWW-Authenticate": "Bearer"})

    return check
