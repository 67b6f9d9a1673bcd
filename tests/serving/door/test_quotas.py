"""A minute's requests and a day's images, by a clock of the test's own."""

import contextlib

import pytest

from dermray.serving.door.quotas import DAY, Quotas
from dermray.serving.errors import ApiError
from dermray.serving.keys import Key

NOON = 20_000 * DAY + DAY / 2  # Unix seconds


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def key(**quotas: int) -> Key:
    return Key(name="a", hash=f"sha256:{'0' * 64}", **quotas)  # type: ignore[arg-type]


def granted(quotas: Quotas, of: Key, tries: int) -> int:
    count = 0
    for _ in range(tries):
        with contextlib.suppress(ApiError):
            quotas.request(of)
            count += 1
    return count


def test_a_minutes_requests_come_at_once_and_then_by_the_clock(clock: Clock) -> None:
    quotas, limited = Quotas(clock=clock), key(requests_per_minute=6)
    assert granted(quotas, limited, 20) == 6
    clock.now += 10
    assert granted(quotas, limited, 20) == 1
    with pytest.raises(ApiError, match="6 requests a minute") as raised:
        quotas.request(limited)
    assert raised.value.headers["Retry-After"] == "10"
    clock.now += 600
    assert granted(quotas, limited, 20) == 6
    assert granted(quotas, key(), 100) == 100


def test_a_replica_grants_its_share(clock: Clock) -> None:
    assert granted(Quotas(lambda: 3, clock), key(requests_per_minute=6), 20) == 2
    quotas, limited = Quotas(lambda: 3, clock), key(images_per_day=7)
    quotas.images(limited, 3)
    with pytest.raises(ApiError, match="7 images a day"):
        quotas.images(limited, 1)
    assert granted(Quotas(lambda: 3, clock), key(requests_per_minute=1), 5) == 1, "less than one each: one each"


def test_a_days_images_end_with_the_day(clock: Clock) -> None:
    quotas, limited = Quotas(clock=clock), key(images_per_day=10)
    quotas.images(limited, 8)
    with pytest.raises(ApiError) as raised:
        quotas.images(limited, 3)
    assert raised.value.headers["Retry-After"] == str(DAY // 2)
    assert "10 images a day, of which 2 are left and 3 are asked for" in raised.value.message
    with pytest.raises(ApiError, match="no request of 11 fits in: ask for at most 10") as raised:
        quotas.images(limited, 11)
    assert "Retry-After" not in raised.value.headers, "tomorrow it does not fit either"
    quotas.images(limited, 2)  # what was refused was not counted
    clock.now += DAY / 2
    quotas.images(limited, 10)
