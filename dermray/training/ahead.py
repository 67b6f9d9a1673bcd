"""The next batch, read and copied to the device by a thread while the step before it runs.

Reading draws no random numbers, so a training's bits do not depend on how far ahead it was.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, NamedTuple, Protocol, Self, TypeVar

import torch


class Movable(Protocol):
    """What a batch is that was read."""

    def moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Self:
        """With all tensors as `move` gives them."""
        ...


B = TypeVar("B", bound=Movable)


class Place(NamedTuple):
    """Where in a training: a part of a worker's share of a step's batch."""

    step: int
    rank: int
    workers: int
    part: int


class ReadAhead(Generic[B]):
    """One batch at a time is read ahead, by a thread that ends with it.

    Args:
        read: called in the thread, never twice at a time.
    """

    def __init__(self, read: Callable[[Place], B]) -> None:
        self._read = read
        self._next: tuple[Place, Future[B]] | None = None
        self._stream: torch.cuda.Stream | None = None

    def take(self, place: Place, following: Place | None, device: torch.device) -> B:
        """The batch of `place`. Reading that of `following` begins.

        Raises:
            Whatever reading this batch raised: an error waits in the thread until its own batch is asked for.
        """
        if device.type == "cuda" and self._stream is None:
            self._stream = torch.cuda.Stream(device)
        if self._next is None or self._next[0] != place:  # the first, or another training's
            self.rest()
            self._begin(place)
        assert self._next is not None
        batch = self._next[1].result()
        self._next = None
        if self._stream is not None:
            batch = _arrived(batch, self._stream)
        if following is not None:
            self._begin(following)
        return batch

    def rest(self) -> None:
        """Wait until nothing is being read."""
        if self._next is not None:
            wait([self._next[1]])

    def _begin(self, place: Place) -> None:
        thread = ThreadPoolExecutor(1, "read-ahead")
        self._next = place, thread.submit(self._on_device, place)
        thread.shutdown(wait=False)  # it ends when it has read

    def _on_device(self, place: Place) -> B:
        """Copied on a stream of its own, beside the step's; other devices than CUDA's have the host's memory."""
        batch = self._read(place)
        if (stream := self._stream) is None:
            return batch
        with torch.cuda.stream(stream):
            return batch.moved(lambda tensor: tensor.pin_memory().to(stream.device, non_blocking=True))


def _arrived(batch: B, copies: torch.cuda.Stream) -> B:
    """Ready for the stream that computes: that waits for the copies, the host does not."""
    computes = torch.cuda.current_stream(copies.device)
    computes.wait_stream(copies)

    def used(tensor: torch.Tensor) -> torch.Tensor:
        tensor.record_stream(computes)  # its memory is not given to the next copy while the step reads it
        return tensor

    return batch.moved(used)
