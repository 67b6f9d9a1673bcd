"""Adapters by request over a deployment for each adapter: memory, and what a change of adapter costs.

    python -m benchmarks.adapters_by_request [ADAPTERS [RANK]]

FLUX of random weights with 4 double and 8 single blocks of width 512, on one CPU thread, at 256 px. Memory: what one
process with the base and all adapters takes, over as many processes with the base and one adapter; each measured in a
process of its own, beside what an empty one takes that has imported the same. Change: a step of an image when the
adapter changes before each, over a step when it stays (alternating rounds, median); and seconds to read an adapter and
hang it beside the others.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import diffusers
import torch

from dermray.generators import adapters, nano
from dermray.generators.adapter_rack import AdapterRack
from dermray.generators.base import Request
from dermray.generators.flux_lora import FluxLora, FluxLoraConfig

CAPTION, STEPS, ROUNDS = "malignant, skin tone B: red.", 8, 7


def main(count: int = 8, rank: int = 16) -> None:
    """Print what was measured."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        _write(place, count, rank)
        one, several, empty = (_measured(place, names) for names in (["0"], [str(i) for i in range(count)], []))
    memory = {"empty": empty["bytes"], "one": one["bytes"], "all": several["bytes"]}
    alone = count * (memory["one"] - memory["empty"])
    ratio = (memory["all"] - memory["empty"]) / alone
    print(f"load {os.getloadavg()[0]:.1f} at {os.cpu_count()} CPUs; {count} adapters of rank {rank}")
    print(f"memory: {(memory['all'] - memory['empty']) / 1e6:.0f} MB over {alone / 1e6:.0f} MB: {ratio:.3f}")
    print(
        f"a step with a change of adapter {several['changed']:.4f} s, without {several['stayed']:.4f} s: "
        f"{several['changed'] / several['stayed']:.3f}; the change alone {several['use'] * 1000:.1f} ms"
    )
    print(f"to read an adapter and hang it: {several['hang']:.3f} s, {several['hang'] / several['stayed']:.2f} steps")


def _write(place: Path, count: int, rank: int) -> None:
    """A base, and adapters of it that say something."""
    torch.manual_seed(0)
    pipeline: Any = nano.flux([CAPTION], 64)
    pipeline.transformer = diffusers.FluxTransformer2DModel(
        in_channels=16, num_layers=4, num_single_layers=8, attention_head_dim=64, num_attention_heads=8,
        joint_attention_dim=nano.WIDTH, pooled_projection_dim=nano.WIDTH, guidance_embeds=True,
        axes_dims_rope=(16, 24, 24),
    )  # fmt: skip
    pipeline.save_pretrained(place / "base")
    config = FluxLoraConfig(
        base=str(place / "base"), image_size=256, rank=rank, alpha=rank, targets="all_linear", max_sequence_length=64
    )
    generator = FluxLora.from_captions(config, [CAPTION])
    for number in range(count):
        for parameter in generator.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.02)
        generator.save(place / str(number))


def _measured(place: Path, names: list[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.adapters_by_request", "measure", str(place), *names]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def measure(place: Path, names: list[str]) -> dict[str, float]:
    """In a process of its own: bytes, and seconds where there are several adapters."""
    torch.set_num_threads(1)
    if not names:
        return {"bytes": _bytes()}
    generator = FluxLora.load(place / names[0]).eval()
    generator.rows = 1
    rack, slots, hung = AdapterRack(generator), list[str](), list[float]()
    for name in names[1:]:
        began = time.perf_counter()
        slots.append(rack.hang(rack.read((place / name / adapters.LORA_FILE).read_bytes(), name)))
        hung.append(time.perf_counter() - began)
    generator.sample([Request(CAPTION, 0)], 3.5, 1)
    found: dict[str, float] = {"bytes": _bytes()}
    if slots:
        each = [_steps(generator, rack, slots if change else slots[:1]) for _ in range(ROUNDS) for change in (0, 1)]
        stayed, changed = each[::2], each[1::2]
        found |= {"stayed": statistics.median(stayed), "changed": statistics.median(changed)}
        found |= {"hang": statistics.median(hung), "use": _use(rack, slots)}
    return found


def _steps(generator: FluxLora, rack: AdapterRack, slots: list[str]) -> float:
    """Seconds of a step of one image."""
    in_turn = itertools.cycle(slots)
    with torch.inference_mode():
        canvas = generator.begin(Request(CAPTION, 0), 3.5, STEPS)
        began = time.perf_counter()
        while not canvas.done:
            rack.use(next(in_turn))
            generator.advance([canvas])
    return (time.perf_counter() - began) / STEPS


def _use(rack: AdapterRack, slots: list[str]) -> float:
    """Seconds of a change."""
    taken = []
    for slot in slots * 3:
        began = time.perf_counter()
        rack.use(slot)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _bytes() -> float:
    """Of this process, in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measure(Path(sys.argv[2]), sys.argv[3:])))
    else:
        main(*map(int, sys.argv[1:3]))
