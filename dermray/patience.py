"""How long a store's passing faults are borne: one number of seconds for every way to S3."""

import itertools
import os
import random
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
VARIABLE = "DERMRAY_S3_PATIENCE"
DEFAULT = 200.0  # seconds: a server that is started anew, or a failover
LONGEST = 86_400.0
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 20.0  # seconds


def seconds() -> float:
    """Of VARIABLE, or DEFAULT.

    Raises:
        ValueError: it is no number from 0 to LONGEST.
    """
    given = os.environ.get(VARIABLE) or DEFAULT
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 <= value <= LONGEST:  # false for nan too
        raise ValueError(f"{VARIABLE}={given}: expected seconds from 0 to {LONGEST:.0f}")
    return value


def pause(attempt: int) -> float:
    """Seconds before the next try: doubling, but no longer than LONGEST_PAUSE, and not the same for all clients.

    Args:
        attempt: how often it was tried again, from 0.
    """
    return min(FIRST_PAUSE * 2 ** min(attempt, 30), LONGEST_PAUSE) * random.uniform(0.8, 1.2)


def doublings() -> int:
    """The number of pauses that double from FIRST_PAUSE on, with no longest one, and last `seconds()` together."""
    return next(n for n in itertools.count() if FIRST_PAUSE * (2**n - 1) >= seconds())


def tried(request: Callable[[], Result], passes: Callable[[Exception], bool]) -> Result:
    """What `request` gives, tried again for `seconds()` where it raises what will pass."""
    end = time.monotonic() + seconds()
    for attempt in itertools.count():
        try:
            return request()
        except Exception as error:
            if not passes(error) or time.monotonic() >= end:
                raise
        time.sleep(pause(attempt))
    raise AssertionError("unreachable")
