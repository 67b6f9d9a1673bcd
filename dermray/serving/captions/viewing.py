"""Uploaded bytes to what a captioner is shown, in a few threads, within a budget of pixels."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dermray.captioning.prepare import shown
from dermray.datasets.decode import BadImage, size_of
from dermray.serving.classification.decoding import LARGE, PixelBudget, give_back


@dataclass(frozen=True)
class View:
    """An image as the caption stage's `Prepare` has it."""

    shown: bytes | None  # encoded, at most `side` px
    unreadable: str | None  # why there is none


class Viewer:
    """For all requests of a replica."""

    def __init__(self, side: int, threads: int) -> None:
        """Args: side: px, the longest that is shown."""
        self.side, self.budget = side, PixelBudget(1)
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="view")

    async def view(self, images: list[bytes], max_pixels: int) -> list[View]:
        """Each image, or what is wrong with it. The budget is the largest image that is allowed."""
        if self.budget.pixels != max_pixels:
            self.budget = PixelBudget(max_pixels)
        loop, budget = asyncio.get_running_loop(), self.budget
        return list(
            await asyncio.gather(*(loop.run_in_executor(self.pool, self._one, image, budget) for image in images))
        )

    def _one(self, image: bytes, budget: PixelBudget) -> View:
        try:
            width, height = size_of(image, budget.pixels)
            with budget.room(width * height):
                view = View(*shown(image, self.side))
                if width * height >= LARGE:
                    give_back()
        except BadImage as error:
            return View(None, str(error))
        except MemoryError:
            return View(None, "too large to be decoded here")
        return view
