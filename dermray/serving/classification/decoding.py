"""Uploaded bytes to pixels, in a few threads, within a budget of pixels."""

import asyncio
import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dermray.datasets.decode import BadImage, decode, size_of, square
from dermray.records import sample_id

LARGE = 4_000_000  # pixels: what is freed after such an image is given back to the system
IN_A_JOB = 16  # images: a thread's start costs as much as a small image


@dataclass(frozen=True)
class Upload:
    """An image as a client sent it, decoded."""

    sample_id: str
    pixels: np.ndarray | None  # (3, S, S) uint8
    reason: str | None  # why there are none


class PixelBudget:
    """So many pixels are decoded at a time, whatever the number of threads; others wait.

    A decoded pixel takes some 4 to 16 bytes, so that the budget bounds the memory of all decodes together.
    """

    def __init__(self, pixels: int) -> None:
        self.pixels, self.taken = pixels, 0
        self.changed = threading.Condition()

    @contextlib.contextmanager
    def room(self, pixels: int) -> Iterator[None]:
        """For an image; one of more pixels than there are waits until it is alone."""
        wanted = min(pixels, self.pixels)
        with self.changed:
            self.changed.wait_for(lambda: self.taken + wanted <= self.pixels)
            self.taken += wanted
        try:
            yield
        finally:
            with self.changed:
                self.taken -= wanted
                self.changed.notify_all()


class Decoder:
    """Decodes images of one size for all requests of a replica."""

    def __init__(self, size: int, threads: int, observed: Callable[[float], None] = lambda _: None) -> None:
        """Args: size: px a side. observed: is told the seconds that each image took."""
        self.size, self.observed = size, observed
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self.budget: PixelBudget | None = None

    async def decode(self, images: list[bytes], max_pixels: int) -> list[Upload]:
        """Each image, or what is wrong with it. The budget is the largest image that is allowed."""
        if self.budget is None or self.budget.pixels != max_pixels:
            self.budget = PixelBudget(max_pixels)
        loop, budget = asyncio.get_running_loop(), self.budget
        parts = [images[first : first + IN_A_JOB] for first in range(0, len(images), IN_A_JOB)]
        jobs = [loop.run_in_executor(self.pool, self._all_of, part, budget) for part in parts]
        return [upload for job in await asyncio.gather(*jobs) for upload in job]

    def _all_of(self, images: list[bytes], budget: PixelBudget) -> list[Upload]:
        return [self._one(image, budget) for image in images]

    def _one(self, image: bytes, budget: PixelBudget) -> Upload:
        started, name = time.perf_counter(), sample_id(image)
        try:
            width, height = size_of(image, budget.pixels)
            with budget.room(width * height):
                pixels = square(decode(image, budget.pixels), self.size)
                if width * height >= LARGE:
                    give_back()
        except BadImage as error:
            return Upload(name, None, str(error))
        except MemoryError:
            return Upload(name, None, "too large to be decoded here")
        finally:
            self.observed(time.perf_counter() - started)
        return Upload(name, pixels, None)


def give_back() -> None:
    """glibc keeps what is freed: a gigabyte after a dozen photographs of 50 megapixels."""
    with contextlib.suppress(OSError, AttributeError):  # other systems' libraries have no such function
        ctypes.CDLL("libc.so.6").malloc_trim(0)
