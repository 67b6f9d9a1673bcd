"""The network of nodes that are namespaces: late, lossy, cut, and gone with whoever made it."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.network import hub
from tests.network.nodes import Network, network, what_is_missing
from tests.quickstart import wait_for
from tests.raylets import ROOT

pytestmark = pytest.mark.skipif(what_is_missing() is not None, reason=f"needs {what_is_missing()}")
SEED = 3
PORT = 4000
# Counts what arrives until a packet says "end", and answers with the number.
COUNTER = f"""
import socket
arrived, here = 0, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind(("", {PORT}))
print("here", flush=True)
while True:
    packet, sender = here.recvfrom(100)
    if packet == b"end":
        here.sendto(str(arrived).encode(), sender)
        arrived = 0
    else:
        arrived += 1
"""


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Two nodes; node 1 counts the packets that it gets."""
    with network(tmp_path_factory.mktemp("net"), 2, SEED) as nodes:
        nodes.start(1, [sys.executable, "-c", COUNTER], {}, "counter.log")
        wait_for(lambda: "here" in nodes.log(1, "counter.log"), 60)
        yield nodes


def _send(nodes: Network, packets: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(packets):
            sender.sendto(str(number).encode(), (nodes.address(1), PORT))


def _arrived(nodes: Network) -> tuple[int, float]:
    """How many did since this was asked last, and the seconds that the question took."""
    began = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(30)
        sender.sendto(b"end", (nodes.address(1), PORT))
        return int(sender.recv(100)), time.monotonic() - began


def test_packets_are_late_and_lost_as_told_and_a_cut_node_gets_none(near: Network) -> None:
    _send(near, 50)
    assert _arrived(near)[0] == 50
    near.set("loss", 0.2)
    _send(near, 200)
    near.set("loss", 0)
    dice = random.Random(SEED)
    assert _arrived(near)[0] == sum(dice.random() >= 0.2 for _ in range(200))
    near.set("latency", 0.25)
    _send(near, 5)
    arrived, seconds = _arrived(near)
    assert arrived == 5 and seconds >= 0.5, "there and back"
    near.set("latency", 0)
    near.set("cut", 1)
    _send(near, 5)
    near.set("restore", 1)
    assert _arrived(near)[0] == 0


def test_nodes_end_with_the_process_that_made_them_even_if_it_is_killed(tmp_path: Path) -> None:
    script = f"""
import sys, time
from pathlib import Path
from tests.network.nodes import network
with network(Path({str(tmp_path)!r}), 1) as nodes:
    nodes.start(1, [sys.executable, "-c", "import time; time.sleep(1000)"], {{}}, "log")
    print(nodes.process.pid, flush=True)
    time.sleep(1000)
"""
    maker = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert maker.stdout
    space = hub.namespace(int(maker.stdout.readline()), 1)
    wait_for(lambda: hub.ip("netns", "pids", space).strip(), 30)
    [*_, last] = map(int, hub.ip("netns", "pids", space).split())
    os.kill(maker.pid, signal.SIGKILL)
    maker.wait()
    wait_for(lambda: space not in hub.ip("netns", "list"), 30)
    assert not psutil.pid_exists(last) or psutil.Process(last).status() == psutil.STATUS_ZOMBIE
