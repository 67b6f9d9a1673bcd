"""What a key may ask for in a minute and in a day."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dermray.serving.errors import ApiError
from dermray.serving.keys import Key

DAY = 86_400  # seconds


@dataclass
class Quotas:
    """Counted in this replica's memory: of several ingress replicas each grants its share, and a restart forgets.

    Serve spreads requests over replicas, so that the shares together come near the quota and never pass it by more than
    one request or image a replica.
    """

    replicas: Callable[[], int] = lambda: 1  # of the ingress, now
    clock: Callable[[], float] = time.time  # Unix seconds
    _next: dict[str, float] = field(default_factory=dict)  # when a key's next request would be even
    _drawn: dict[str, tuple[int, int]] = field(default_factory=dict)  # (day, images)

    def request(self, key: Key) -> None:
        """Count a request; raises `ApiError` 429 where a minute's are used up."""
        if key.requests_per_minute is None:
            return
        pause = 60 * self.replicas() / key.requests_per_minute
        now = self.clock()
        due = max(self._next.get(key.name, 0.0), now) + pause
        # a leaky bucket (GCRA): a minute's requests may come at once, and then one at a time
        if (early := due - now - max(60, pause)) > 1e-6:
            after = math.ceil(early)
            used_up = f"{key.requests_per_minute} requests a minute, which are used up: ask again in {after} s"
            raise _over(used_up, after, "requests_per_minute")
        self._next[key.name] = due

    def images(self, key: Key, number: int) -> None:
        """Count images that are asked for; raises `ApiError` 429 where they are more than is left of the day's."""
        if key.images_per_day is None:
            return
        now = self.clock()
        today = int(now // DAY)
        day, spent = self._drawn.get(key.name, (today, 0))
        spent = spent if day == today else 0
        share = math.ceil(key.images_per_day / self.replicas())
        if number > share:  # tomorrow as little as today: no Retry-After
            raise ApiError(
                429, f"this key has {key.images_per_day} images a day, and no request of {number} fits in: ask for at "
                f"most {share}", code="images_per_day",
            )  # fmt: skip
        if spent + number > share:
            after = math.ceil((today + 1) * DAY - now)
            raise _over(
                f"{key.images_per_day} images a day, of which {share - spent} are left and {number} are asked for: "
                f"ask for fewer, or again in {after} s", after, "images_per_day",
            )  # fmt: skip
        self._drawn[key.name] = (today, spent + number)


def _over(quota: str, after: int, code: str) -> ApiError:
    return ApiError(429, f"this key has {quota}", code=code, headers={"Retry-After": str(after)})
