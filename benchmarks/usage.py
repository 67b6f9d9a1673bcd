"""What processes take together: peak memory, and seconds of CPUs."""

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


@contextmanager
def peak(processes: Callable[[], list[psutil.Process]]) -> Iterator[list[float]]:
    """The most memory in MiB that these processes have together while the body runs."""
    found, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            used = 0
            for process in processes():
                try:
                    used += process.memory_full_info().pss
                except psutil.Error:
                    continue
            found[0] = max(found[0], used / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def cpu(processes: list[psutil.Process]) -> float:
    """Seconds that they and their ended children have computed."""
    found = 0.0
    for process in processes:
        try:
            found += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return found


def own_cpu() -> float:
    """Of this process and its ended children."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, WHO))


def family(root: int | None = None) -> list[psutil.Process]:
    """A process and all that it started."""
    first = psutil.Process(root)
    return [first, *first.children(recursive=True)]
