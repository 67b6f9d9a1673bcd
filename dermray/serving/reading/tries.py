"""Wrong codes from one address: a few may come at once, then one every few seconds."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dermray.serving.errors import ApiError

AT_ONCE = 10  # wrong codes, before an address has to wait
PAUSE = 6.0  # seconds for each
REMEMBERED = 10_000  # addresses


@dataclass
class Tries:
    """Counted in this replica's memory. A code has 100 random bits: what this bounds is the work that guesses make.

    People behind one address share its tries; a right code costs none.
    """

    clock: Callable[[], float] = time.monotonic
    _next: dict[str, float] = field(default_factory=dict)  # when an address's next wrong code would be even

    def require(self, address: str) -> None:
        """Raise `ApiError` 429 where an address has to wait, whatever its code."""
        early = self._next.get(address, 0.0) - self.clock() - (AT_ONCE - 1) * PAUSE
        if early > 0:
            after = math.ceil(early)
            raise ApiError(
                429, f"too many wrong codes from your network: try again in {after} s", code="too_many_codes",
                headers={"Retry-After": str(after)},
            )  # fmt: skip

    def wrong(self, address: str) -> None:
        """Count a wrong code."""
        now = self.clock()
        if len(self._next) >= REMEMBERED:
            self._next = {known: due for known, due in self._next.items() if due > now}
        self._next[address] = max(self._next.get(address, 0.0), now) + PAUSE
