"""A thread that draws: images of all requests advance together, join and leave between steps.

Knows no Ray. What is asked for is a future; cancelling it takes the image away before the next step.
"""

import itertools
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from dermray.generators.base import Generator, Request
from dermray.generators.canvas import Canvas
from dermray.serving.drawing.turns import Turns

T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """One image."""

    image: Request
    guidance_scale: float
    steps: int
    adapter: str | None = None  # that it is drawn with, as `use` is told; None: the generator's own


@dataclass(frozen=True)
class Step:
    """What the thread did, for metrics."""

    images: int  # that advanced
    waiting: int  # that did not, or are not begun
    finished: int
    seconds: float


@dataclass(eq=False)
class _Commission:
    wanted: Wanted
    client: Hashable
    request: Hashable
    result: "Future[np.ndarray]" = field(default_factory=Future)
    canvas: Canvas | None = None
    alone: bool = False  # it was in a batch that failed: its own failure shall be no neighbour's


class Easel:
    """Draws until it is closed.

    Args:
        generator: in evaluation mode; nobody else uses it. batch_size: images that advance together at most.
        observe: called from the thread after each step. use: called from it before images of another adapter.
    """

    def __init__(
        self, generator: Generator, batch_size: int, observe: Callable[[Step], None] = lambda step: None,
        use: Callable[[str | None], None] = lambda adapter: None,
    ) -> None:  # fmt: skip
        self.generator, self.batch_size, self.observe, self.use = generator, batch_size, observe, use
        self._errands: list[tuple[Callable[[], Any], Future[Any]]] = []
        self._commissions: list[_Commission] = []
        self._turns: Turns[_Commission] = Turns()
        self.steps = 0  # of images, taken so far
        self.seconds = (0.0, 0.0)  # in which it drew, by the clock and of the thread's CPU time
        self._changed, self._closed, self._numbers = threading.Condition(), False, itertools.count()
        self._thread = threading.Thread(target=self._run, name="easel", daemon=True)
        self._thread.start()

    def draw(self, wanted: list[Wanted], client: Hashable) -> "list[Future[np.ndarray]]":
        """A future of (H, W, 3) uint8 for each image of a request.

        Raises:
            RuntimeError: it is closed.
        """
        number = next(self._numbers)
        new = [_Commission(image, client, number) for image in wanted]
        with self._changed:
            if self._closed:
                raise RuntimeError("the easel is closed")
            self._commissions += new
            self._changed.notify()
        return [commission.result for commission in new]

    def between_steps(self, errand: Callable[[], T]) -> "Future[T]":
        """Has the thread that draws do something before its next step: nothing of the generator is at work then.

        Raises:
            RuntimeError: it is closed.
        """
        result: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the easel is closed")
            self._errands.append((errand, result))
            self._changed.notify()
        return result

    def steps_taken(self, wanted: list[Wanted], results: "list[Future[np.ndarray]]") -> int:
        """Of the images of a request that are in the making or done."""
        steps = {id(c.result): c.canvas.step for c in list(self._commissions) if c.canvas is not None}
        return sum(
            one.steps if result.done() else steps.get(id(result), 0)
            for one, result in zip(wanted, results, strict=True)
        )

    def close(self) -> None:
        """Ends after the step that is under way; what is not drawn is cancelled."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        for commission in self._commissions:
            commission.result.cancel()
        for _, result in self._errands:
            result.cancel()

    @property
    def alive(self) -> bool:
        """Whether anything will be drawn."""
        return self._thread.is_alive()

    @property
    def unfinished(self) -> int:
        """Images that are asked for, those included whose takers left since the last step."""
        return len(self._commissions)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._commissions or self._errands)
                if self._closed:
                    return
                errands, self._errands = self._errands, []
                self._commissions = [c for c in self._commissions if not c.result.done()]
                waiting = list(self._commissions)
            for errand, result in errands:
                _do(errand, result)
            if waiting:
                with torch.inference_mode():
                    self._step(waiting)
            else:
                self.observe(Step(0, 0, 0, 0.0))

    def _step(self, waiting: list[_Commission]) -> None:
        began, cpu = time.perf_counter(), time.thread_time()
        chosen = self._chosen(self._turns.order(waiting))
        if not chosen:  # none could be begun
            return
        try:
            self.use(chosen[0].wanted.adapter)
            self.generator.advance([c.canvas for c in chosen if c.canvas is not None])
            finished = [c for c in chosen if c.canvas is not None and c.canvas.done]
            self._hand_over(finished)
        except Exception as error:
            self._failed(chosen, error)
            finished = []
        self.steps += len(chosen)
        self.seconds = self.seconds[0] + time.perf_counter() - began, self.seconds[1] + time.thread_time() - cpu
        self._turns.taken(chosen, waiting)
        self.observe(Step(len(chosen), len(waiting) - len(chosen), len(finished), time.perf_counter() - began))

    def _chosen(self, in_turn: list[_Commission]) -> list[_Commission]:
        """Those of the first one's kind and adapter, begun where they are not yet."""
        chosen: list[_Commission] = []
        for commission in in_turn:
            if len(chosen) == self.batch_size:
                break
            if chosen and (commission.alone or chosen[0].alone):
                continue
            if chosen and commission.wanted.adapter != chosen[0].wanted.adapter:
                continue
            if commission.canvas is None and not self._begun(commission):
                continue
            canvas = commission.canvas
            assert canvas is not None
            if not chosen or (chosen[0].canvas is not None and canvas.kind == chosen[0].canvas.kind):
                chosen.append(commission)
        return chosen

    def _begun(self, commission: _Commission) -> bool:
        wanted = commission.wanted
        try:
            self.use(wanted.adapter)
            commission.canvas = self.generator.begin(wanted.image, wanted.guidance_scale, wanted.steps)
        except Exception as error:
            _fail(commission, error)
            return False
        return True

    def _hand_over(self, finished: list[_Commission]) -> None:
        for commission in finished:
            assert commission.canvas is not None
            pixels = self.generator.finish([commission.canvas])[0].permute(1, 2, 0).numpy()
            if commission.result.set_running_or_notify_cancel():
                commission.result.set_result(pixels)

    def _failed(self, chosen: list[_Commission], error: Exception) -> None:
        """One that was alone is at fault; of several each begins again, alone: the same pixels, drawn anew."""
        for commission in chosen:
            if commission.result.done():
                continue
            if len(chosen) == 1:
                _fail(commission, error)
            commission.canvas, commission.alone = None, True


def _do(errand: Callable[[], T], result: "Future[T]") -> None:
    if result.set_running_or_notify_cancel():
        try:
            result.set_result(errand())
        except Exception as error:
            result.set_exception(error)


def _fail(commission: _Commission, error: Exception) -> None:
    if commission.result.set_running_or_notify_cancel():
        commission.result.set_exception(error)
