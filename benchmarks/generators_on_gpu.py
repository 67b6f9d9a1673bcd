"""Training and sampling speed of generators on one GPU: images/s, share of the chip's measured matrix rate, memory.

    python -m benchmarks.generators_on_gpu            # a CUDA GPU of 40 GB or more
    python -m benchmarks.generators_on_gpu --tiny     # small models on any device: does the script itself work?

FLUX.1-dev's geometry with random weights in bf16 and LoRA of rank 64 on all attention layers, 512 px, text embeddings
and latents made beforehand; DermDiT-L/4 at 256 px in bf16 autocast; FLUX sampling in 20 steps. Needs torch, peft,
transformers, diffusers, pydantic and pyyaml, no Ray. Utilisation is the model's floating-point operations, counted by
torch in a forward pass, times 2 for LoRA (the backward pass needs gradients of activations, hardly any of weights) or 3
for all weights, over what a large bf16 product reaches on the same chip. Recomputed activations do not count as work.
"""

import argparse
import datetime
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dermray.generators import adapters, nano
from dermray.generators.dermdit import DermDiTConfig, geometry
from dermray.generators.dit import Transformer
from dermray.generators.flux_lora import TARGETS

WARM, TIMED = 3, 10


class Bench:
    """Device, sizes and the measured matrix rate."""

    def __init__(self, tiny: bool) -> None:
        self.tiny = tiny
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if not tiny and self.device.type != "cuda":
            raise SystemExit("no CUDA GPU here: run with --tiny to try the script, or where there is one")
        n = 512 if tiny else 8192
        a = torch.randn(n, n, device=self.device, dtype=torch.bfloat16)
        self.rate = 2 * n**3 / self.seconds(lambda: a @ a)
        name = torch.cuda.get_device_name() if self.device.type == "cuda" else "CPU"
        print(f"{datetime.date.today()}, {name}, torch {torch.__version__}, matrix rate {self.rate / 1e12:.1f} TFLOP/s")

    def seconds(self, work: Callable[[], Any]) -> float:
        """Mean of TIMED calls after WARM ones."""
        warm, timed = (1, 2) if self.tiny else (WARM, TIMED)
        for _ in range(warm):
            work()
        self._wait()
        started = time.perf_counter()
        for _ in range(timed):
            work()
        self._wait()
        return (time.perf_counter() - started) / timed

    def report(self, what: str, images: int, operations: float, work: Callable[[], Any]) -> None:
        """One line: images/s, utilisation, peak memory."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = self.seconds(work)
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else float("nan")
        share = operations / seconds / self.rate
        print(f"{what}: {images / seconds:.2f} images/s, utilisation {share:.3f}, peak {peak:.1f} GiB", flush=True)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def forward_operations(work: Callable[[], Any]) -> float:
    """Floating-point operations of a forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def flux(bench: Bench) -> tuple[Any, dict[str, Tensor], int]:
    """The transformer with adapters, and the arguments of one batch."""
    sizes: dict[str, Any] = {"guidance_embeds": True}
    if bench.tiny:
        sizes |= {"in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
                  "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 32,
                  "axes_dims_rope": (4, 6, 6)}  # fmt: skip
    with torch.device("meta"):
        model: Any = FluxTransformer2DModel(**sizes)
    model = model.to(torch.bfloat16).to_empty(device=bench.device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.02)
    adapters.add_lora(model, TARGETS["attention"], 64, 64)
    batch, side, words = (1, 4, 8) if bench.tiny else (4, 32, 512)  # 32 x 32 tokens of 16 px
    made: Any = {"device": bench.device, "dtype": torch.bfloat16}
    grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1).reshape(-1, 2)
    ids = torch.cat([torch.zeros(side * side, 1), grid], 1).to(bench.device)
    arguments = {
        "hidden_states": torch.randn(batch, side * side, model.config.in_channels, **made),
        "timestep": torch.full((batch,), 0.5, **made),
        "guidance": torch.ones(batch, device=bench.device),
        "pooled_projections": torch.randn(batch, model.config.pooled_projection_dim, **made),
        "encoder_hidden_states": torch.randn(batch, words, model.config.joint_attention_dim, **made),
        "txt_ids": torch.zeros(words, 3, device=bench.device),
        "img_ids": ids,
    }
    return model, arguments, batch


def flux_training(bench: Bench) -> None:
    """Forward, backward and AdamW on the adapters; with and without recomputed activations, with compile."""
    for recompute, compiled in ((True, False), (False, False), (True, True)):
        model, arguments, batch = flux(bench)
        if recompute:
            model.enable_gradient_checkpointing()
        model.train()
        operations = 2 * forward_operations(partial(model, **arguments))
        call = torch.compile(model) if compiled else model
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)

        def step(call: Any = call, optimizer: Any = optimizer, arguments: Any = arguments) -> None:
            call(**arguments, return_dict=False)[0].float().square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        name = f"FLUX LoRA training, recompute {recompute}, compile {compiled}"
        try:
            bench.report(name, batch, operations, step)
        except torch.OutOfMemoryError:
            print(f"{name}: out of memory")
        del model, call, optimizer, step


def flux_sampling(bench: Bench) -> None:
    """20 Euler steps of the transformer; text encoders and autoencoder are not in it."""
    model, arguments, batch = flux(bench)
    model.eval()

    def draw() -> None:
        with torch.inference_mode():
            z = arguments["hidden_states"]
            for _ in range(20):
                z = z - model(**arguments | {"hidden_states": z}, return_dict=False)[0] / 20

    bench.report("FLUX sampling, 20 steps", batch, 20 * forward_operations(lambda: model(**arguments)), draw)


def dermdit_training(bench: Bench) -> None:
    """DiT-L/4 and its cross-attention, all weights trained in bf16 autocast."""
    large = {"image_size": 256, "width": 1024, "blocks": 24, "heads": 16, "patch": 4, "text_width": 768}
    sizes: dict[str, Any] = {} if bench.tiny else large
    config = DermDiTConfig(**sizes)
    batch, side = (2, 8) if bench.tiny else (64, 32)
    for recompute, compiled in ((False, False), (True, False), (False, True)):
        model = Transformer(geometry(config, nano.vae().config)).to(bench.device)
        if recompute:
            model.enable_gradient_checkpointing()
        call = torch.compile(model) if compiled else model
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        z = torch.randn(batch, 4, side, side, device=bench.device)
        t, text = torch.randint(0, 1000, (batch,), device=bench.device), torch.randn(batch, 77, config.text_width)
        text, mask = text.to(bench.device), torch.ones(batch, 77, dtype=torch.bool, device=bench.device)

        def step(call: Any = call, optimizer: Any = optimizer, inputs: Any = (z, t, text, mask)) -> None:
            with torch.autocast(bench.device.type, torch.bfloat16):
                loss = call(*inputs).float().square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        with torch.autocast(bench.device.type, torch.bfloat16):
            operations = 3 * forward_operations(partial(model, z, t, text, mask))
        bench.report(f"DermDiT training, recompute {recompute}, compile {compiled}", batch, operations, step)


def main(tiny: bool) -> None:
    """All of it."""
    bench = Bench(tiny)
    flux_training(bench)
    flux_sampling(bench)
    dermdit_training(bench)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    main(parser.parse_args().tiny)
