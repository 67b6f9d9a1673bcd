"""What becomes of a joined cluster's nodes, said at the driver while it works: which are lost, and a head that is silent.

Ray does the lost work again by itself; but whoever waits must know why a job is slower, or stands still.
"""

import socket
import sys
import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

SECONDS = 5.0  # between looks, and for an answer of the head
SILENT = 2  # looks without an answer before it is said: one lost connection is no news
NAMED = 5  # nodes in a line; of more the number is enough


class Watch:
    """Looks at the cluster to lines: what has changed since the look before."""

    def __init__(self, head: str) -> None:
        self.head = head  # host:port
        self.alive: dict[str, str] | None = None  # names of living nodes by id; None before the first look
        self.silent, self.since = 0, 0.0

    def lines(self, nodes: Collection[Mapping[str, Any]] | None, now: float) -> list[str]:
        """What to print.

        Args:
            nodes: as `ray.nodes()` has them; None where the head did not answer.
            now: monotonic seconds.
        """
        if nodes is None:
            self.silent += 1
            self.since = now if self.silent == 1 else self.since
            return [self._silence()] if self.silent == SILENT else []
        said = [f"the head answers again, after {now - self.since:.0f} s"] if self.silent >= SILENT else []
        self.silent = 0
        before, self.alive = self.alive, {node["NodeID"]: _name(node) for node in nodes if node["Alive"]}
        if before is None:
            return said
        left = f"{len(self.alive)} of them are there now"
        if lost := [name for node, name in before.items() if node not in self.alive]:
            said.append(f"lost of the cluster's nodes: {_names(lost)}; their unfinished work is done again. {left}")
        if new := [name for node, name in self.alive.items() if node not in before]:
            said.append(f"new among the cluster's nodes: {_names(new)}. {left}")
        return said

    def _silence(self) -> str:
        return (
            f"the cluster's head {self.head} does not answer. Work under way goes on, nothing new is placed; Ray waits "
            "for the head as long as RAY_gcs_rpc_server_reconnect_timeout_s says (60 s). If this job ends, start the same "
            "command again: what is written is kept"
        )


def start(head: str) -> None:
    """Print what becomes of the nodes from now on, until this process leaves the cluster."""
    threading.Thread(target=_watch, args=(Watch(head),), name="node-watch", daemon=True).start()


def _watch(watch: Watch) -> None:
    import ray

    while ray.is_initialized():
        # asked first: where the head is gone Ray's own question waits for a minute and then ends the process
        nodes = ray.nodes() if _answers(watch.head) else None
        for line in watch.lines(nodes, time.monotonic()):
            print(f"dermray: {line}", file=sys.stderr, flush=True)
        time.sleep(SECONDS)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS).close()
    except OSError:
        return False
    return True


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _names(nodes: list[str]) -> str:
    more = len(nodes) - NAMED
    return ", ".join(sorted(nodes)[:NAMED]) + (f" and {more} more" if more > 0 else "")
