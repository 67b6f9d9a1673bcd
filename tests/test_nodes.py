"""Nodes that differ are told before work starts: two raylets with a disk and code of their own."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dermray import nodes
from tests.raylets import ROOT, two_nodes

DRIVER = """
import json, os, sys
from dermray.cluster import connect, prepare_environment
prepare_environment()
import ray
from dermray import nodes
address, shared, private = sys.argv[1:]
ray.init(address=address, log_to_driver=False)
for check in (nodes.require_same_software, lambda: nodes.require_shared(shared), lambda: nodes.require_shared(private)):
    try:
        check()
        print("ok")
    except (RuntimeError, ValueError) as error:
        print(type(error).__name__, error)
ray.shutdown()
os.environ |= {"RAY_ADDRESS": address, "AWS_REGION": "of-the-driver", "AWS_SECRET_ACCESS_KEY": "secret"}
connect()
print(json.dumps([list(nodes.ask_all(os.getenv, n).values()) for n in ("AWS_REGION", "AWS_SECRET_ACCESS_KEY")]))
print("secret" in str(ray.get_runtime_context().runtime_env))
"""


@pytest.fixture
def nodes_with_other_code(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a head, and a directory on which the other node has a disk of its own. The other node's dermray is
    another version."""
    private, code = tmp_path / "private", tmp_path / "code"
    private.mkdir()
    shutil.copytree(ROOT / "dermray", code / "dermray")
    with (code / "dermray" / "records.py").open("a") as file:
        file.write("# another version\n")
    instead = {private: tmp_path / "other_disk", ROOT / "dermray": code / "dermray"}
    with two_nodes(tmp_path / "nodes", 2, instead, {"AWS_REGION": "of-the-node"}) as address:
        yield address, private


@pytest.mark.slow
def test_nodes_with_other_code_or_another_disk_are_named_and_get_the_driver_s_code_and_settings(
    nodes_with_other_code: tuple[str, Path], tmp_path: Path
) -> None:
    address, private = nodes_with_other_code
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DRIVER, address, str(tmp_path / "shared"), str(private / "run")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    same, shared, own, settings, secret = done.stdout.strip().splitlines()
    assert same.startswith("RuntimeError node ") and "has dermray" in same and "Send the same dermray along" in same
    assert shared == "ok"
    assert own.startswith(f"ValueError {private}/run: not seen by node(s)") and "s3:// URI" in own
    # `connect` compared the nodes, and the other one had this code
    assert settings == '[["of-the-driver", "of-the-driver"], [null, null]]' and secret == "False"


def test_skew_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    here = nodes.software()
    monkeypatch.setattr(nodes, "ask_all", lambda _: {"10.0.0.2": here | {"torch": "1.0"}, "10.0.0.3": here})
    told = f"node 10.0.0.2 has torch 1.0, here {here['torch']}. On these nodes: pip install torch=={here['torch']}"
    with pytest.raises(RuntimeError, match=re.escape(told)):
        nodes.require_same_software()


def test_a_full_disk_keeps_nothing_of_the_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, text: str) -> None:
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", refused)
    with pytest.raises(OSError, match="No space left"):
        nodes.require_shared(str(tmp_path))
    assert not list(tmp_path.iterdir())
