"""Our DiT and DermDiT beside their public code, on the same random weights: largest differences.

    git clone https://github.com/Munia03/DermDiT /tmp/dermdit
    git clone https://github.com/facebookresearch/DiT /tmp/dit
    python -m benchmarks.dermdit_equality /tmp/dermdit /tmp/dit

At published size the names and shapes of all weights; at published width, in 4 of the 24 blocks, positions, output,
losses and gradients of a batch; and from a smaller model latents after the 250 steps of the paper. Needs timm, which
their models import.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from dermray.generators import ddpm
from dermray.generators.dit import Geometry, Transformer

LARGE = Geometry(1024, 24, 16, 4, 32, 4, True, 512, "pooled")
FEW = 4  # of the 24 blocks
SMALL = replace(LARGE, width=384, heads=6, blocks=FEW)
THEIRS = ("models", "diffusion")


def public_code(checkout: Path) -> dict[str, ModuleType]:
    """Their modules. Both repositories call them alike, so each is imported anew."""
    for name in [name for name in sys.modules if name.split(".")[0] in THEIRS]:
        del sys.modules[name]
    sys.path.insert(0, str(checkout))
    try:
        return {name: __import__(name) for name in THEIRS}
    finally:
        sys.path.pop(0)


def theirs(code: dict[str, ModuleType], size: Geometry) -> nn.Module:
    """Their network of these sizes, with noise on all weights: the last layers begin as zeros."""
    own = {"text_encoder_dim": size.text_width} if size.conditioning == "pooled" else {"num_classes": 1000}
    model: nn.Module = code["models"].DiT(
        input_size=size.side, patch_size=size.patch, in_channels=size.channels, hidden_size=size.width,
        depth=size.blocks, num_heads=size.heads, learn_sigma=size.learned_sigma, **own,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def ours(model: nn.Module, size: Geometry) -> Transformer:
    """Ours, with their weights; of DiT's table of classes the row of none."""
    made, state = Transformer(size), model.state_dict()
    positions = (made.pos_embed - state["pos_embed"]).abs().max().item()
    print(f"  positions differ by {positions:.1e}")
    if size.conditioning == "none":
        state["y_embedder.embedding_table.weight"] = state["y_embedder.embedding_table.weight"][-1:]
    made.load_state_dict(state)
    return made.eval()


def names(code: dict[str, ModuleType], size: Geometry) -> None:
    """Of all weights, with their shapes, without memory for them."""
    initialise, code["models"].DiT.initialize_weights = code["models"].DiT.initialize_weights, lambda model: None
    try:
        with torch.device("meta"):
            reference, model = theirs(code, size), Transformer(size)
    finally:
        code["models"].DiT.initialize_weights = initialise
    shapes = [{name: tuple(value.shape) for name, value in m.state_dict().items()} for m in (reference, model)]
    differ = {name: shape for name, shape in shapes[0].items() if shapes[1].get(name) != shape}
    print(
        f"  {sum(p.numel() for p in reference.parameters()):,} parameters by {len(shapes[0])} names; ours has the same"
    )
    print(f"  but for {differ or 'none'}; unknown there: {sorted(shapes[1].keys() - shapes[0].keys()) or 'none'}")


def compare(checkout: Path, size: Geometry, text: Tensor, labels: Tensor) -> None:
    """Names at published size; output, losses and gradients in 4 blocks."""
    code = public_code(checkout)
    names(code, size)
    torch.manual_seed(0)
    size = replace(size, blocks=FEW)
    reference = theirs(code, size)
    model, scheduler = ours(reference, size), noise_schedule()
    diffusion = code["diffusion"].create_diffusion(timestep_respacing="")
    data, noise, t = torch.randn(4, 4, 32, 32), torch.randn(4, 4, 32, 32), torch.tensor([0, 1, 617, 999])
    y = text if size.conditioning == "pooled" else labels
    noisy = scheduler.add_noise(data, noise, t)
    out = model(noisy, t, text)
    print(f"  output (up to {out.abs().max():.2f}) differs by {(out - reference(noisy, t, y)).abs().max():.1e}")
    expected = diffusion.training_losses(reference, data, t, {"y": y}, noise=noise)["loss"]
    losses = ddpm.loss(out[:, :4], data, noise, t, scheduler, None)
    losses = losses + ddpm.variational_bound(out[:, :4], out[:, 4:], data, noisy, t, scheduler)
    for when, loss, other in zip(t.tolist(), losses.tolist(), expected.tolist(), strict=True):
        print(f"  loss at t = {when}: {loss:.6f}, theirs {other:.6f}")
    losses[1:].mean().backward()  # at t = 0 theirs is the likelihood by an approximation of the normal distribution
    expected[1:].mean().backward()
    named, squares = dict(reference.named_parameters()), [0.0, 0.0]
    for name, weight in model.named_parameters():
        gradient = named[name].grad
        assert gradient is not None and weight.grad is not None
        gradient = gradient[-1:] if name.startswith("y_embedder.embedding_table") else gradient
        squares[0] += (weight.grad - gradient).square().sum().item()
        squares[1] += gradient.square().sum().item()
    print(f"  gradients of t > 0 differ by {(squares[0] / squares[1]) ** 0.5:.1e} of their length")


def noise_schedule() -> Any:
    """As DermDiT has it."""
    import diffusers

    return diffusers.DDPMScheduler(
        beta_schedule="linear", clip_sample=False, variance_type="learned_range", timestep_spacing="linspace"
    )


def sampling(checkout: Path, text: Tensor) -> None:
    """250 steps of both from the same noise."""
    code = public_code(checkout)
    torch.manual_seed(0)
    reference = theirs(code, SMALL)
    model, diffusion = ours(reference, SMALL), code["diffusion"].create_diffusion("250")
    scheduler = noise_schedule()
    scheduler.set_timesteps(250)
    same = sorted(diffusion.use_timesteps, reverse=True) == scheduler.timesteps.tolist()
    print(f"  250 steps are the same: {same}")
    start = torch.randn(2, 4, 32, 32)
    noises = list(torch.randn(250, *start.shape))
    with torch.no_grad():
        z, given = start, iter(noises)
        patched = code["diffusion"].gaussian_diffusion.th
        original, patched.randn_like = patched.randn_like, lambda like: next(given)
        try:
            z = diffusion.p_sample_loop(
                reference, start.shape, start, clip_denoised=False, model_kwargs={"y": text}, device="cpu"
            )
        finally:
            patched.randn_like = original
        mine = start
        for t in scheduler.timesteps:
            out = model(mine, t.expand(2), text)
            mine = step(scheduler, out, t, mine, noises)
    print(f"  latents (up to {z.abs().max():.2f}) differ by {(z - mine).abs().max():.1e}")


def step(scheduler: Any, out: Tensor, t: Tensor, z: Tensor, noises: list[Tensor]) -> Tensor:
    """diffusers' step with the given noise."""
    from diffusers.schedulers import scheduling_ddpm

    index = scheduler.timesteps.tolist().index(int(t))
    original, scheduling_ddpm.randn_tensor = scheduling_ddpm.randn_tensor, lambda *_, **__: noises[index]
    try:
        stepped: Tensor = scheduler.step(out, t, z).prev_sample
        return stepped
    finally:
        scheduling_ddpm.randn_tensor = original


def main(dermdit: Path, dit: Path) -> None:
    """Everything, on stdout."""
    torch.manual_seed(0)
    text, none = torch.randn(4, 77, 512), torch.full((4,), 1000)
    print("DermDiT-L/4, compat paper:")
    compare(dermdit, LARGE, text, none)
    print("DiT-L/4, conditional false:")
    compare(dit, replace(LARGE, conditioning="none"), text, none)
    print("DermDiT of 4 blocks of 384, 250 steps:")
    sampling(dermdit, text[:2])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dermdit", type=Path)
    parser.add_argument("dit", type=Path)
    main(**vars(parser.parse_args()))
