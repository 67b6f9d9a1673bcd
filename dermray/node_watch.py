"""A joined cluster's nodes that go, come or do not answer, and a silent head, said at the driver while it works.

Ray does the lost work again by itself; but whoever waits must know why a job is slower, or stands still.
"""

import asyncio
import atexit
import sys
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

SECONDS = 5.0  # between looks, and for an answer
SILENT = 2  # looks without an answer before it is said: one lost connection is no news
AT_A_TIME = 256  # nodes asked
NAMED = 5  # nodes in a line; of more the number is enough
HEAD = "head"  # among ids of nodes, which are hexadecimal


class Watch:
    """Looks at the cluster to lines: what has changed since the look before."""

    def __init__(self, head: str) -> None:
        self.head = head  # host:port
        self.alive: dict[str, str] = {}  # names of living nodes by id
        self.silent: dict[str, tuple[int, float]] = {}  # looks without an answer, and when the first one was

    def lines(self, nodes: Collection[Mapping[str, Any]] | None, silent: Collection[str], now: float) -> list[str]:
        """What to print.

        Args:
            nodes: as `ray.nodes()` has them; None where the head did not answer.
            silent: ids of those that Ray has as alive and that did not answer.
            now: monotonic seconds.
        """
        if nodes is None:
            return [self._head_silent()] if self._missed(HEAD, now) else []
        said = [f"the head answers again, after {now - since:.0f} s" for since in self._back({HEAD}).values()]
        before, self.alive = self.alive, {node["NodeID"]: _name(node) for node in nodes if node["Alive"]}
        if gone := [name for node, name in before.items() if node not in self.alive]:
            said.append(f"nodes gone: {_names(gone)}; Ray does their unfinished work again. {len(self.alive)} remain")
        if before and (new := [name for node, name in self.alive.items() if node not in before]):
            said.append(f"nodes joined: {_names(new)}. There are {len(self.alive)} now")
        return said + self._reached(silent, now)

    def _reached(self, silent: Collection[str], now: float) -> list[str]:
        said = []
        if lost := [self.alive[node] for node in silent if node in self.alive and self._missed(node, now)]:
            said.append(
                f"nodes do not answer: {_names(lost)}; Ray waits for about a minute until it takes them for dead"
            )
        back = self._back(self.silent.keys() - silent)
        if names := [self.alive[node] for node in back if node in self.alive]:
            said.append(f"nodes answer again: {_names(names)}, after {now - min(back.values()):.0f} s")
        return said

    def _missed(self, node: str, now: float) -> bool:
        """Whether it is to be said now that it does not answer."""
        looks, since = self.silent.get(node, (0, now))
        self.silent[node] = looks + 1, since
        return looks + 1 == SILENT

    def _back(self, nodes: Collection[str]) -> dict[str, float]:
        """Since when each of these did not answer, if that was said."""
        answering = {node: self.silent.pop(node) for node in nodes if node in self.silent}
        return {node: since for node, (looks, since) in answering.items() if looks >= SILENT}

    def _head_silent(self) -> str:
        return (
            f"the cluster's head {self.head} does not answer. Work under way goes on, new workers wait for the head; "
            "without one for 60 s (RAY_gcs_rpc_server_reconnect_timeout_s) this job ends. What is written is kept: "
            "start the same command again"
        )


def start(head: str) -> None:
    """Print what becomes of the nodes from now on, until this process ends or leaves the cluster."""
    end = threading.Event()
    thread = threading.Thread(target=_watch, args=(Watch(head), end), name="node-watch", daemon=True)
    thread.start()
    # before Ray's own: a question to the head must not meet what Ray has already taken down
    atexit.register(_end, thread, end)


def _end(thread: threading.Thread, end: threading.Event) -> None:
    end.set()
    thread.join(2 * SECONDS)


def _watch(watch: Watch, end: threading.Event) -> None:
    import ray

    while not end.wait(SECONDS) and ray.is_initialized():
        # asked first: where the head is gone Ray's own question waits for a minute and then ends the process
        nodes = None if asyncio.run(_silent({HEAD: watch.head})) else ray.nodes()
        raylets = {
            node["NodeID"]: f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
            for node in nodes or ()
            if node["Alive"]
        }
        for line in watch.lines(nodes, asyncio.run(_silent(raylets)), time.monotonic()):
            print(f"dermray: {line}", file=sys.stderr, flush=True)


async def _silent(places: Mapping[str, str]) -> list[str]:
    """Those of these host:port where nothing accepts a connection, by their keys."""
    turns = asyncio.Semaphore(AT_A_TIME)
    answers = await asyncio.gather(*(_answers(place, turns) for place in places.values()))
    return [node for node, answer in zip(places, answers, strict=True) if not answer]


async def _answers(place: str, turns: asyncio.Semaphore) -> bool:
    host, _, port = place.rpartition(":")
    async with turns:
        try:
            async with asyncio.timeout(SECONDS):
                _, connection = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:  # TimeoutError is one
            return False
    connection.close()
    return True


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _names(nodes: list[str]) -> str:
    more = len(nodes) - NAMED
    return ", ".join(sorted(nodes)[:NAMED]) + (f" and {more} more" if more > 0 else "")
