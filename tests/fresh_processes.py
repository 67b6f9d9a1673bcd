"""Processes whose memory is measured: all of them are forks of one that has imported the given modules alone."""

import contextlib
import multiprocessing
from collections.abc import Iterator
from multiprocessing import forkserver
from typing import Any


@contextlib.contextmanager
def fresh_processes(*modules: str) -> Iterator[Any]:
    """A context of multiprocessing. Python has one fork server for all: another test's, which may have imported
    torch and started with other settings of malloc, is ended first, and this one afterwards."""
    server: Any = forkserver._forkserver
    server._stop()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    try:
        yield context
    finally:
        server._stop()
        context.set_forkserver_preload([])
