"""Batches that are read while the step before runs are those that the step would read itself."""

import threading
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dermray.generators import bare
from dermray.generators.base import Generator, Sample, family
from dermray.train_loop import LoopConfig, State
from dermray.train_loop.fake_device import DEVICE, FakeDevice
from dermray.training.ahead import Place, ReadAhead
from dermray.training.batches import Source
from dermray.training.read_batch import ImageBatch
from dermray.training.task import GeneratorTask
from tests.quickstart import wait_for

HOST = torch.device("cpu")


class Plain(Generator):
    """Its samples are its images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def encode(self, images: Tensor, captions: list[str]) -> list[Sample]:
        return [
            {"pixels": image, "number": torch.tensor(int(c[8:]))} for image, c in zip(images, captions, strict=True)
        ]


def place(step: int) -> Place:
    return Place(step, 0, 1, 0)


def threads() -> list[str]:
    """Those that read ahead."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def no_thread_is_left() -> None:
    wait_for(lambda: not threads(), 60)


def test_the_next_batch_is_read_while_a_step_runs_and_no_more_than_that() -> None:
    """The read of step 1 ends only when step 0 says so: in the step's own thread it never would."""
    read, runs = list[int](), threading.Event()

    def slowly(where: Place) -> ImageBatch:
        assert where.step == 0 or runs.wait(60)
        read.append(where.step)
        return ImageBatch(torch.full((1,), where.step), [])

    ahead = ReadAhead(slowly)
    assert ahead.take(place(0), place(1), HOST).pixels.item() == 0
    assert read == [0]
    wait_for(lambda: len(threads()) == 1, 60)  # that of step 0 may not have ended yet
    runs.set()
    ahead.rest()
    assert read == [0, 1]
    assert ahead.take(place(1), None, HOST).pixels.item() == 1
    assert read == [0, 1], "each once"
    no_thread_is_left()


def test_an_error_belongs_to_the_step_whose_batch_it_is() -> None:
    def broken_at_one(where: Place) -> ImageBatch:
        if where.step == 1:
            raise FileNotFoundError("shard 1 is gone")
        return ImageBatch(torch.zeros(1), [])

    ahead = ReadAhead(broken_at_one)
    ahead.take(place(0), place(1), HOST)
    with pytest.raises(FileNotFoundError, match="shard 1 is gone"):
        ahead.take(place(1), place(2), HOST)
    assert ahead.take(place(2), None, HOST)
    no_thread_is_left()


def drawn(task: GeneratorTask, places: list[Place], afresh: bool) -> list[dict[str, Tensor]]:
    """The batches of some places, from a task that goes through them, or from a new one for each."""
    module, batches = Plain(), list[dict[str, Tensor]]()
    for where in places:
        torch.manual_seed(where.step * 100 + where.rank)
        batches += (replace(task) if afresh else task).arguments(module, *where)
    return batches


@pytest.mark.parametrize("accumulate", [1, 2])
def test_order_and_orientations_are_those_of_reading_in_the_step(two_sizes: str, accumulate: int) -> None:
    """Also where other workers go on, and where a rank begins in the middle."""
    loop = LoopConfig(steps=12, batch_size=8, accumulate=accumulate).model_dump()
    task = GeneratorTask("none", {}, Source(two_sizes), loop, True)
    for first, workers in ((0, 4), (4, 3), (8, 2)):
        for rank in range(workers):
            places = [Place(s, rank, workers, part) for s in range(first, first + 4) for part in range(accumulate)]
            for a, b in zip(drawn(task, places, False), drawn(task, places, True), strict=True):
                assert torch.equal(a["number"], b["number"]) and torch.equal(a["pixels"], b["pixels"])
                assert (a["pixels"] == a["number"].view(-1, 1, 1, 1) * 10).all(), "each with its own caption"
    no_thread_is_left()


def test_samples_are_named_while_others_are_being_read(two_sizes: str) -> None:
    task = GeneratorTask("none", {}, Source(two_sizes), LoopConfig(steps=4, batch_size=4).model_dump(), False)
    [batch] = drawn(task, [place(0)], False)
    assert task.describe(*place(0)) == [f"{int(number):04d}" for number in batch["number"]]


def test_the_host_waits_once_a_step_at_most(two_sizes: str) -> None:
    loop = LoopConfig(steps=3, batch_size=4)
    settings: Any = family("latent_diffusion").Config(image_size=32)
    task = GeneratorTask("latent_diffusion", settings.model_dump(), Source(two_sizes), loop.model_dump(), True)
    with FakeDevice() as device:
        module = bare.build("latent_diffusion", settings, [f"caption {i}" for i in range(16)], device.take)
        state = State(module.train(), loop)
        state.advance(task, module, 0, 1)
        before = len(device.waits)
        state.advance(task, module, 0, 1)
    assert next(module.parameters()).device == DEVICE
    assert len(device.waits) - before <= 1, device.waits[before:]
