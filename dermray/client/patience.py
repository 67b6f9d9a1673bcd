"""When a request is tried again: drawing and scoring leave nothing behind, so asking twice is safe."""

import random
from dataclasses import dataclass
from typing import Any

import httpx2

from dermray.client.errors import ServiceError, Unreachable

# The queue is full or a replica died (429, 503), or a proxy between lost the service for a moment (502, 504).
AGAIN = {429, 502, 503, 504}
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds


@dataclass(frozen=True)
class Patience:
    """How long a client waits and how often it tries.

    Attributes:
        tries: of a request, at least 1. seconds: for one answer. connect_seconds: for a connection.
    """

    tries: int = 5
    seconds: float = 300.0
    connect_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.tries < 1 or self.seconds <= 0 or self.connect_seconds <= 0:
            raise ValueError(f"{self}: expected tries of at least 1, and seconds above 0")

    def options(self, base_url: str) -> dict[str, Any]:
        """Of an HTTP client."""
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"{base_url!r}: expected http:// or https://, the host, and a port if it is not 80 or 443")
        return {
            "base_url": base_url.rstrip("/").removesuffix("/v1"),  # as OpenAI's clients are given it
            "timeout": httpx2.Timeout(self.seconds, connect=self.connect_seconds),
        }

    def pause(self, attempt: int, outcome: httpx2.Response | httpx2.TransportError) -> float | None:
        """Seconds until the next try; None for an answer that is final.

        Args:
            attempt: how often it was tried, from 1.

        Raises:
            ServiceError: a refusal, or a failure of the last try. Unreachable: no answer to the last try, or none in
                time.
        """
        if isinstance(outcome, httpx2.TransportError):
            if attempt < self.tries and not isinstance(outcome, httpx2.ReadTimeout | httpx2.WriteTimeout):
                return _pause(attempt)
            raise Unreachable(_said(outcome, attempt, self)) from outcome
        if outcome.status_code < 400:
            return None
        if outcome.status_code not in AGAIN or attempt >= self.tries:
            raise ServiceError.of(outcome)
        return max(_pause(attempt), _asked_for(outcome))


def _pause(attempt: int) -> float:
    """Longer from time to time, and not the same for all clients that a full queue has turned away."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)


def _asked_for(response: httpx2.Response) -> float:
    """Seconds that the service says; at most LONGEST_PAUSE, for a header of a proxy may say anything."""
    try:
        return min(LONGEST_PAUSE, max(0.0, float(response.headers.get("retry-after", 0))))
    except ValueError:  # a date
        return 0.0


def _said(error: httpx2.TransportError, attempt: int, patience: Patience) -> str:
    where = f"{error.request.url.scheme}://{error.request.url.netloc.decode()}"
    if isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
        return f"{where}: no answer within {patience.seconds:g} s; ask for less, or give more: Patience(seconds=...)"
    reason = str(error) or type(error).__name__
    return f"{where}: {reason}, tried {attempt} times; does the service run there?"
