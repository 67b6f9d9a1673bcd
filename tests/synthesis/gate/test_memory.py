"""An opened gate's own memory does not grow with the training images: what does lies in files that nodes share."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gate_cost import make_index, smooth
from dermray.synthesis.gate import index as indices
from dermray.synthesis.gate.gate import Looks
from tests.fresh_processes import fresh_processes

FEW, MANY = 2_000, 20_000
# An index is 1,900 bytes an image, and a list of ids in Python would be 36. What two processes of 320 MiB differ by for
# no reason was up to 380 kB, or 21 bytes an image of these.
BYTES_AN_IMAGE = 32


def own_memory(uri: str, answer: Any) -> None:
    """Bytes that a process holds for itself, beside files that are mapped, after it looked at some images."""
    looks = Looks(uri)
    for image in smooth(3, 32, torch.Generator().manual_seed(2)):
        looks.seen(image)
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    answer.send(int(status["RssAnon"].split()[0]) * 1024)


@pytest.mark.slow
@pytest.mark.parametrize("flat", [True, False])
def test_memory_of_its_own_does_not_grow(flat: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    monkeypatch.setattr(indices, "FLAT_UP_TO", 10**6 if flat else 1_000)
    held = list[int]()
    with fresh_processes(__name__) as context:
        for count in (FEW, MANY):
            place = tmp_path / str(count)
            place.mkdir()
            make_index(count, place)
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=own_memory, args=(str(place), sender))
            process.start()
            sender.close()
            held.append(receiver.recv())
            process.join()
    slope = (held[1] - held[0]) / (MANY - FEW)
    print(f"{held[0] / 2**20:.0f} MiB, then {slope:.1f} bytes an image")
    assert slope < BYTES_AN_IMAGE
