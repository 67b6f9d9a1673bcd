"""Looks at an output all the time while a stage writes it: what is there must be true at every moment."""

import threading
import time
from collections.abc import Callable

from dermray import storage
from dermray.manifest import Begun
from tests.soak import results

PAUSE = 0.5  # seconds between two looks, at least
SHARE = 4  # pauses are so many times as long as looks: who looks must not be what slows the stage down


class Watch:
    """A thread that looks.

    Args:
        uri: the output; not to be read through a store that is made to fail.
        check: told the result as soon as there is a manifest; what is wrong with it.
    """

    def __init__(self, uri: str, check: Callable[[], list[str]]) -> None:
        self.uri, self.check = uri, check
        self.begun = threading.Event()  # the stage writes
        self.looks, self.wrong = 0, list[str]()
        self._ended, self._suspected = threading.Event(), set[str]()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def end(self) -> list[str]:
        """Look no more; what was wrong."""
        self._ended.set()
        self._thread.join()
        return self.wrong

    def _look_on(self) -> None:
        checked, took = False, 0.0
        while not self._ended.wait(max(PAUSE, SHARE * took)):
            self.looks, start = self.looks + 1, time.monotonic()
            try:
                if not storage.exists(storage.join(self.uri, "manifest.json")):
                    self._unfinished()
                elif not checked:  # at the moment when others may read it
                    self.begun.set()
                    self.wrong += [f"as soon as there was a manifest: {line}" for line in self.check()]
                    checked = True
            except OSError:  # what was listed just now is gone: a start was tidying up
                continue
            took = time.monotonic() - start

    def _unfinished(self) -> None:
        for file in storage.list_files(self.uri, ".json", below=False):
            name = file.rpartition("/")[2]
            if name.startswith("begun-"):
                self.begun.set()
                try:
                    Begun.model_validate_json(storage.read_bytes(file))
                except FileNotFoundError:
                    continue  # committed just now
                except ValueError as error:
                    self.wrong.append(f"{name}: {error}")
        suspected = set[str]()
        for data in results.unfinished(self.uri):
            for place, missing in results.committed(data):
                if missing:
                    suspected.add(place)
                    if place in self._suspected:  # not while a start was tidying up
                        self.wrong.append(f"{place}: {missing} ids are noted as written, and in no row")
        self._suspected = suspected
