"""The cable between nodes that are network namespaces: IP packets go from one's TUN device to another's, late or never.

python -m tests.network.hub NODES SEED

Commands are lines on standard input: `latency SECONDS`, `loss SHARE`, `cut NODE`, `restore NODE`. When its input
ends, because its maker is done or was killed, everything is taken down: the nodes' processes, namespaces and devices.
"""

import contextlib
import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

PREFIX = "dermray-"
ROOT_HOST = 254  # last byte of the address of this machine itself, where services lie that all nodes reach
MTU = 9000  # a jumbo frame: fewer packets to carry in Python
HELD = 20_000  # packets on their way; a switch has room for fewer and drops the rest as well
AT_A_TIME = 64  # packets read of a device before others have their turn
QUEUED = 500  # packets that a device holds until they are read
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # of linux/if_tun.h


class Hub:
    """A namespace and a device for each node, and packets between them. Node 0 is this machine."""

    def __init__(self, nodes: int, seed: int) -> None:
        self.dice = random.Random(seed)
        self.latency, self.loss, self.cut = 0.0, 0.0, set[int]()
        self.way: deque[tuple[float, int, bytes]] = deque()  # when each packet arrives, at whom
        self.devices = [self._connect(node) for node in range(nodes + 1)]
        self.by_address = {bytes(map(int, address(os.getpid(), n).split("."))): n for n in range(nodes + 1)}

    def _connect(self, node: int) -> int:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        name = f"dr{os.getpid()}n{node}"
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
        inside: list[str] = []
        if node:
            space = namespace(os.getpid(), node)
            inside = ["-n", space]
            ip("netns", "add", space)
            ip("link", "set", name, "netns", space)
            ip(*inside, "link", "set", name, "name", "eth0")
            ip(*inside, "link", "set", "lo", "up")
            name = "eth0"
        ip(*inside, "addr", "add", f"{address(os.getpid(), node)}/24", "dev", name)
        ip(*inside, "link", "set", name, "mtu", str(MTU), "up")
        if node:  # programs find their own address by a route to anywhere
            ip(*inside, "route", "add", "default", "dev", name)
        return device

    def run(self) -> None:
        """Until standard input ends."""
        ready = select.epoll()
        by_file = {device: node for node, device in enumerate(self.devices)}
        for file in (sys.stdin.fileno(), *self.devices):
            ready.register(file, select.EPOLLIN)
        print("ready", flush=True)
        while True:
            pause = max(0.0, self.way[0][0] - time.monotonic()) if self.way else None
            for file, _ in ready.poll(pause):
                if file != sys.stdin.fileno():
                    self._read(by_file[file])
                elif line := sys.stdin.readline():
                    self._obey(*line.split())
                else:
                    return
            self._deliver()

    def _obey(self, what: str, value: str) -> None:
        for node in range(len(self.devices)):  # what was sent before the command travels as it was then
            self._read(node, QUEUED)
        if what in ("latency", "loss"):
            setattr(self, what, float(value))
        else:
            (self.cut.add if what == "cut" else self.cut.discard)(int(value))
        print("done", flush=True)

    def _read(self, node: int, most: int = AT_A_TIME) -> None:
        arrival = time.monotonic() + self.latency
        for _ in range(most):
            try:
                packet = os.read(self.devices[node], MTU)
            except BlockingIOError:
                return
            to = self.by_address.get(packet[16:20])  # of IPv4's header: the destination
            if to is None or self.cut & {node, to} or len(self.way) >= HELD:
                continue
            if not self.loss or self.dice.random() >= self.loss:
                self.way.append((arrival, to, packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self.way and self.way[0][0] <= now:
            _, to, packet = self.way.popleft()
            if to not in self.cut:
                os.write(self.devices[to], packet)


def namespace(hub: int, node: int) -> str:
    """The name of a node's, by the hub's process."""
    return f"{PREFIX}{hub}-{node}"


def address(hub: int, node: int) -> str:
    """IPv4; each hub has a network of its own."""
    return f"10.{64 + hub % 128}.{hub // 128 % 256}.{node or ROOT_HOST}"


def ip(*arguments: str) -> str:
    """What iproute2's `ip` prints."""
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def kill_all(space: str) -> None:
    """Every process in a namespace, those that are just being started too: the plug is pulled."""
    while pids := ip("netns", "pids", space).split():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)


def remove(hub: int) -> None:
    """The namespaces of a hub and what runs in them; its devices went with its process."""
    for space in _namespaces():
        if space.startswith(f"{PREFIX}{hub}-"):
            kill_all(space)
            ip("netns", "del", space)


def remove_leftovers() -> None:
    """Namespaces of hubs that were killed themselves."""
    for hub in {int(space.split("-")[1]) for space in _namespaces()}:
        command = Path(f"/proc/{hub}/cmdline")
        if not command.exists() or b"tests.network.hub" not in command.read_bytes():
            remove(hub)


def _namespaces() -> list[str]:
    return [line.split()[0] for line in ip("netns", "list").splitlines() if line.startswith(PREFIX)]


def main(nodes: int, seed: int) -> None:
    """Build, carry, take down."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    remove_leftovers()
    try:
        Hub(nodes, seed).run()
    finally:
        remove(os.getpid())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
