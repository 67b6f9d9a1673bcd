"""For every family: a training killed with SIGKILL at a random step and started again, against an uninterrupted one.

    python -m benchmarks.kill_every_family runs/quickstart [FAMILY ...]

Each is `dermray train` with the nano preset of a family and two workers, a process of its own; the kill hits the whole
job. Prints whether all files of both models hold the same bits. Takes about a minute and a half a family.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dermray import manifest
from dermray.generators.base import FAMILIES
from dermray.train_loop.log import PROGRESS

STEPS, EVERY = 30, 3


def command(name: str, quickstart: str, output: str) -> list[str]:
    """`dermray train` of a few steps."""
    return [
        sys.executable, "-m", "dermray.cli", "train", "--config", f"train/{name}_nano", f"rows={quickstart}/caption",
        f"output={output}", "loop.workers=2", "loop.batch_size=4", "loop.accumulate=2", f"loop.steps={STEPS}",
        "loop.log_every=1", f"loop.checkpoint_every={EVERY}",
    ]  # fmt: skip


def reached(output: str) -> int:
    """The last step that an unfinished training has told of."""
    for note in Path(output).glob(f"data-*/{PROGRESS}"):
        words = note.read_text().split()
        if words[:1] == ["step"]:
            return int(words[1])
    return 0


def killed_and_resumed(name: str, quickstart: str, output: str) -> tuple[int, int]:
    """The step that was reached, and the checkpoint gone on from."""
    aim = random.randint(EVERY + 1, STEPS - 5)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen(command(name, quickstart, output), start_new_session=True, **quiet)  # type: ignore[call-overload]
    while reached(output) < aim and first.poll() is None:
        time.sleep(0.01)
    assert first.poll() is None, "it ended before it was killed"
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    stopped = reached(output)
    subprocess.run(command(name, quickstart, output), check=True, **quiet)  # type: ignore[call-overload]
    return stopped, int(manifest.read(output).manifest.metrics["training"]["resumed_from"])


def bits(output: str) -> dict[str, str]:
    """Digest of each file of a model; its card names the run."""
    model = Path(manifest.read(output).data) / "model"
    files = (path for path in sorted(model.rglob("*")) if path.is_file() and path.name != "README.md")
    return {str(path.relative_to(model)): hashlib.sha256(content(path)).hexdigest() for path in files}


def content(path: Path) -> bytes:
    """A file's bytes, which equal weights have in common."""
    data = path.read_bytes()
    return headed(data) if path.suffix == ".safetensors" else data


def headed(data: bytes) -> bytes:
    """Safetensors with its metadata sorted, whose order changes from process to process."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.dumps(json.loads(data[8:end]), sort_keys=True).encode() + data[end:]


def main(quickstart: str, names: list[str]) -> None:
    """A line a family."""
    for name in names:
        with tempfile.TemporaryDirectory() as directory:
            whole, killed = f"{directory}/whole", f"{directory}/killed"
            subprocess.run(command(name, quickstart, whole), check=True, capture_output=True)
            stopped, resumed = killed_and_resumed(name, quickstart, killed)
            first, second = bits(whole), bits(killed)
            same = "equal bits" if first == second else f"DIFFERENT: {[n for n in first if first[n] != second.get(n)]}"
            print(f"{name}: killed at step {stopped} of {STEPS}, resumed from {resumed}: {same} in {len(first)} files")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or list(FAMILIES))
