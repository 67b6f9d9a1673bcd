"""Models on the device, in the precision and compiled as config says; and whether the cluster has room for them."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils import _pytree as trees

from dermray.serving.settings import INGRESS, ServedModel, ServiceConfig

Model = TypeVar("Model", bound=nn.Module)


def placed(module: Model, model: ServedModel) -> Model:
    """The module itself, on its device. What runs in every step, or for every image, has the dtype and is compiled; an
    autoencoder or text encoder, which runs once, is left as it was saved.

    Raises:
        RuntimeError: config wants a GPU, and torch sees none.
    """
    require_device(model)
    module.to(model.device).eval()
    for owner, method in _repeated(module):
        call = getattr(owner, method)
        if model.compile:
            call = torch.compile(call, dynamic=True)  # or each size of a batch is compiled anew
        if model.dtype == "bfloat16":
            call = _in_bfloat16(call, model.device)
        setattr(owner, method, call)
    return module


def require_device(model: ServedModel) -> None:
    """Refuse a device that this node does not have.

    Raises:
        RuntimeError: config wants a GPU, and torch sees none.
    """
    if model.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            f"models.{model.name}: device=cuda, but torch sees no GPU on this node; install the CUDA build of torch "
            "and a driver there, or set device=cpu and gpus_per_replica=0"
        )


def _repeated(module: nn.Module) -> list[tuple[nn.Module, str]]:
    """What runs in every step of a generator, GLIDE's two stages included; of a classifier all of it."""
    parts = [part for name, part in module.named_modules() if name.split(".")[-1] in ("transformer", "unet")]
    if parts:
        outermost = [p for p in parts if not any(p is not q and p in set(q.modules()) for q in parts)]
        return [(part, "forward") for part in outermost]
    return [(module, "velocity" if hasattr(module, "velocity") else "forward")]


def _in_bfloat16(call: Callable[..., Any], device: str) -> Callable[..., Any]:
    """As mixed precision in training has it; what comes out is float32 again, so that steps add up in float32."""

    def computed(*arguments: Any, **named: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            made = call(*arguments, **named)
        return trees.tree_map(lambda x: x.float() if isinstance(x, torch.Tensor) and x.is_floating_point() else x, made)

    return computed


def require_room(config: ServiceConfig, there: Mapping[str, float]) -> None:
    """Refuse what would wait for ever on a cluster that does not grow.

    Args:
        there: what the cluster has in all, by Ray's names.

    Raises:
        ValueError: more is asked for, with the amounts.
    """
    wanted: dict[str, dict[str, float]] = {"GPU": {}, "CPU": {}}
    for name, part in ((INGRESS, config.ingress), *((model.name, model) for model in config.models)):
        each = {"CPU": part.cpus_per_replica, "GPU": getattr(part, "gpus_per_replica", 0)} | part.resources
        for resource, amount in each.items():
            if amount:
                wanted.setdefault(resource, {})[name] = amount * part.at_first
    for resource, shares in wanted.items():
        if (all_of_them := sum(shares.values())) > (has := there.get(resource, 0)):
            asking = ", ".join(f"{name} {amount:g}" for name, amount in shares.items())
            advice = "device=cpu and gpus_per_replica=0" if resource == "GPU" else "fewer replicas, or less for each"
            raise ValueError(f"{resource}s: {all_of_them:g} asked for ({asking}), {has:g} there; set {advice}")
