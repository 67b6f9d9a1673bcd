"""The thread that draws, with a real generator and with one that counts."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
import torch

from dermray.generators.base import Generator, Request
from dermray.generators.canvas import Canvas
from dermray.generators.pixel_dermdit import PixelDermDiT
from dermray.serving.drawing.easel import Easel, Step, Wanted
from tests.serving.models import PROMPT, write_generator


class Counting(Generator):
    """Its images are their seeds; a step waits until it is let go, so that tests say what happens between steps."""

    def __init__(self) -> None:
        super().__init__()
        self.image_size, self.steps = 2, list[list[int]]()
        self.adapters, self.adapter = list[str](), "none"
        self.may, self.began, self.broken = threading.Semaphore(0), threading.Semaphore(0), set[int]()

    def begin(self, request: Request, guidance_scale: float, steps: int) -> Canvas:
        if request.prompt == "unreadable":
            raise ValueError("cannot be read")
        z = torch.full((1, 3, 2, 2), float(request.seed))
        return Canvas(z, (), (), 1, torch.Generator(), None, steps, 2)

    def advance(self, canvases: list[Canvas]) -> None:
        seeds = [int(canvas.z.max()) for canvas in canvases]
        self.began.release()
        self.may.acquire()
        if self.broken & set(seeds):
            raise MemoryError("too much")
        self.steps.append(seeds)
        self.adapters.append(self.adapter)
        for canvas in canvases:
            canvas.step += 1

    def use(self, adapter: str | None) -> None:
        self.adapter = adapter or "own"

    def finish(self, canvases: list[Canvas]) -> torch.Tensor:
        return torch.cat([canvas.z for canvas in canvases]).to(torch.uint8)


def wanted(steps: int, *seeds: int, prompt: str = "", adapter: str | None = None) -> list[Wanted]:
    return [Wanted(Request(prompt, seed), 1.0, steps, adapter) for seed in seeds]


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def easel(counting: Counting) -> Iterator[Easel]:
    made = Easel(counting, 2, use=counting.use)
    yield made
    for _ in range(1000):
        counting.may.release()
    made.close()


def test_a_long_request_leaves_the_others_their_turns(easel: Easel, counting: Counting) -> None:
    long = easel.draw(wanted(250, *range(8)), "first")
    counting.began.acquire()  # it has both places of the first step
    short = easel.draw(wanted(3, 100), "second")
    for _ in range(8):
        counting.may.release()
    assert short[0].result(10).max() == 100
    assert not any(future.done() for future in long)
    assert counting.steps[0] == [0, 1] and all(100 in step for step in counting.steps[1:4])


def test_requests_of_one_client_take_turns_too(easel: Easel, counting: Counting) -> None:
    easel.draw(wanted(50, *range(8)), "client")
    counting.began.acquire()
    short = easel.draw(wanted(2, 100), "client")
    for _ in range(6):
        counting.may.release()
    assert short[0].result(10).max() == 100


def test_a_cancelled_request_leaves_at_the_next_step(easel: Easel, counting: Counting) -> None:
    given_up, kept = easel.draw(wanted(250, 1), "a"), easel.draw(wanted(3, 2), "b")
    counting.began.acquire()
    assert given_up[0].cancel()
    for _ in range(5):
        counting.may.release()
    assert kept[0].result(10).max() == 2
    assert sum(1 in step for step in counting.steps) <= 1
    with pytest.raises(CancelledError):
        given_up[0].result()


def test_images_of_one_adapter_advance_together_and_adapters_take_turns(easel: Easel, counting: Counting) -> None:
    of_a = easel.draw(wanted(20, *range(6), adapter="a"), "first")
    counting.began.acquire()
    others = easel.draw(wanted(2, 10, 11, adapter="b"), "second") + easel.draw(wanted(2, 20), "third")
    for _ in range(9):
        counting.may.release()
    for future in others:
        assert future.result(10).max() in (10, 11, 20)
    assert not any(future.done() for future in of_a), "who comes later with less is not behind all of it"
    for seeds, adapter in zip(counting.steps, counting.adapters, strict=True):
        assert {"a": 0, "b": 1, "own": 2}[adapter] == seeds[0] // 10 and len({seed // 10 for seed in seeds}) == 1
    assert set(counting.adapters[1:4]) == {"a", "b", "own"}, "one step of each in turn"
    assert [10, 11] in counting.steps, "together"


def test_errands_are_done_between_steps(easel: Easel, counting: Counting) -> None:
    assert easel.between_steps(lambda: 3).result(10) == 3, "also while nothing is drawn"
    left = easel.draw(wanted(5, 1), "a")
    counting.began.acquire()
    during = easel.between_steps(lambda: len(counting.steps))
    with pytest.raises(TimeoutError):
        during.result(0.1)
    counting.may.release()
    assert during.result(10) == 1
    counting.began.acquire()

    def fail() -> None:
        raise ValueError("no")

    wrong = easel.between_steps(fail)
    for _ in range(5):
        counting.may.release()
    with pytest.raises(ValueError, match="no"):
        wrong.result(10)
    assert left[0].result(10).max() == 1


def test_a_failure_is_its_own_images_alone(easel: Easel, counting: Counting) -> None:
    counting.broken.add(7)
    for _ in range(100):
        counting.may.release()
    good, bad = easel.draw(wanted(2, 6), "a"), easel.draw(wanted(2, 7), "b")
    unread = easel.draw(wanted(2, 8, prompt="unreadable"), "c")
    assert good[0].result(10).max() == 6
    with pytest.raises(MemoryError):
        bad[0].result(10)
    with pytest.raises(ValueError, match="cannot be read"):
        unread[0].result(10)
    assert easel.draw(wanted(1, 9), "d")[0].result(10).max() == 9, "it goes on"


def test_what_is_closed_draws_nothing_more() -> None:
    counting = Counting()
    easel = Easel(counting, 2)
    left = easel.draw(wanted(5, 1), "a")
    counting.began.acquire()
    counting.may.release()
    counting.may.release()
    easel.close()
    assert left[0].cancelled() and not easel.alive
    with pytest.raises(RuntimeError, match="closed"):
        easel.draw(wanted(1, 1), "a")


def test_pixels_are_the_same_alone_and_in_any_company(tmp_path: Path) -> None:
    write_generator(tmp_path / "generator")
    generator, seen = PixelDermDiT.load(tmp_path / "generator").eval(), list[Step]()
    generator.rows = 4
    easel = Easel(generator, 8, seen.append)
    try:
        each = [Wanted(Request(PROMPT, seed), 1.0 + seed % 3, 2 + seed % 4) for seed in range(20)]
        together: list[np.ndarray] = [
            future.result(60) for i, image in enumerate(each) for future in easel.draw([image], i % 3)
        ]
        at_once = [easel.draw([image], i % 3)[0] for i, image in enumerate(each)]
        for future, alone, image in zip(at_once, together, each, strict=True):
            assert np.array_equal(future.result(60), alone), image
        sampled = generator.sample([each[5].image], each[5].guidance_scale, each[5].steps)[0]
        assert np.array_equal(sampled.permute(1, 2, 0).numpy(), together[5])
    finally:
        easel.close()
    assert max(step.images for step in seen) > 1 and sum(step.finished for step in seen) == 40


def test_it_waits_without_work() -> None:
    easel = Easel(Counting(), 2)
    before = time.thread_time(), time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before[1] < 0.2
    easel.close()
