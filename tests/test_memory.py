"""Peak memory, held to what the kernel says."""

import subprocess
import sys

import numpy as np
import psutil

from dermray.memory import _bytes_of, proportional_bytes


def test_memory_of_this_process_and_its_children_is_counted() -> None:
    before = proportional_bytes()
    script = "x = b'y' * (50 << 20); print('ready', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1) as child:
        assert child.stdin and child.stdout and child.stdout.readline() == b"ready\n"
        own = np.ones(50 << 20, np.uint8)
        assert 100 << 20 <= proportional_bytes() - before <= 140 << 20 and own.any()
        process = psutil.Process(child.pid)
        child.stdin.close()
    assert _bytes_of(process) == 0, "it has ended"
