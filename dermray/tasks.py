"""A function of each item in a Ray task of its own; what it gives back is some numbers and names."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")
ASKED_AT_ONCE = 256  # tasks: each that waits costs the driver some kilobytes


def each_in_ray(function: Callable[..., Out], items: Sequence[In], *more: object) -> Iterator[tuple[In, Out]]:
    """Items and what `function(item, *more)` gave, as they are done.

    Raises whatever the function raises; tasks that run meanwhile end by themselves.
    """
    import ray

    task, shared = ray.remote(function), [ray.put(each) for each in more]
    left, running = iter(items), dict[Any, In]()
    while True:
        for item in islice(left, ASKED_AT_ONCE - len(running)):
            running[task.remote(item, *shared)] = item
        if not running:
            return
        ready, _ = ray.wait(list(running))
        for reference in ready:
            yield running.pop(reference), ray.get(reference)
