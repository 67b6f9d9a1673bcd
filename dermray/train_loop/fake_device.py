"""A second device where there is none: what a GPU would refuse is refused, at full published size, in no memory.

Tensors on `DEVICE` are torch's fake ones: shape, dtype and device, no data. The host's own tensors stay real, so that
schedules, tokenizers and loops run as they do. `cpu:1`, and not `meta`: autocast, fused optimisers and attention know
it.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("cpu", 1)
# A GPU takes one dtype for all tensors of these; torch's shape functions do not look at all of them.
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "_scaled_dot_product_flash_attention_for_cpu"}


class FakeDevice(TorchDispatchMode):
    """While it is entered, `DEVICE` exists. `waits` are the operations that the host waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._fake, self.waits = FakeTensorMode(allow_non_fake_inputs=True), list[str]()

    def __enter__(self) -> Self:
        self._entered = contextlib.ExitStack()
        self._entered.enter_context(self._fake)
        self._entered.enter_context(mock.patch.object(FakeTensor, "tolist", lambda tensor: tensor.to("cpu").tolist()))
        inference = torch.inference_mode  # in which operations would come here undivided
        keep = lambda mode=True: torch.no_grad() if mode else inference(False)  # noqa: E731
        self._entered.enter_context(mock.patch.object(torch, "inference_mode", keep))
        for name in ("tensor", "as_tensor"):  # which make a real tensor whatever index a CPU has
            self._entered.enter_context(mock.patch.object(torch, name, _made_on_host(getattr(torch, name))))
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._entered.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves = tree_leaves((args, kwargs))
        there = [leaf for leaf in leaves if isinstance(leaf, FakeTensor)]
        if not there and not any(isinstance(leaf, torch.device) and leaf == DEVICE for leaf in leaves):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if not there and name == "_to_copy":  # here, because torch would go on with a single number as a real tensor
            return torch.empty(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=DEVICE)
        if there and (name == "_local_scalar_dense" or _to_host(name, args, kwargs)):
            self.waits.append(name)
            return _on_host(name, args, kwargs)
        if name in PRODUCTS:
            dtypes = {tensor.dtype for tensor in there if tensor.dtype.is_floating_point}
            if len(dtypes) > 1:
                raise RuntimeError(f"{name}: expected one dtype, got {sorted(map(str, dtypes))}")
        return func(*args, **kwargs)

    def take(self, module: nn.Module) -> None:
        """Parameters and buffers go to the device, wherever they are; shared ones stay shared."""
        taken: dict[int, tuple[Tensor, Tensor]] = {}  # with the old ones, so that no id is given again
        for part in module.modules():
            for table in (part._parameters, part._buffers):
                for name, tensor in table.items():
                    if tensor is not None:
                        table[name] = taken.setdefault(id(tensor), (tensor, _empty_like(tensor)))[1]  # type: ignore[assignment]  # of its kind


def _made_on_host(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A way of making tensors from the host's data that copies them to the device where that is asked for."""

    def made(data: Any, device: Any = None, **options: Any) -> Tensor:
        there = device is not None and torch.device(device) == DEVICE
        return make(data, **options).to(DEVICE) if there else make(data, device=device, **options)

    return made


def _empty_like(tensor: Tensor) -> Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=DEVICE)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _to_host(name: str, args: Any, kwargs: Any) -> bool:
    """Whether an operation with a tensor of the device brings it to the host."""
    to = kwargs.get("device")
    if name == "copy_":
        return not isinstance(args[0], FakeTensor)
    return name == "_to_copy" and to is not None and to != DEVICE


def _on_host(name: str, args: Any, kwargs: Any) -> Any:
    """Something of the right type, as there are no data: ones for numbers, zeros for tensors."""
    tensor = args[0]
    if name == "_local_scalar_dense":
        return _one(tensor.dtype)
    if name == "copy_":
        return tensor
    with unset_fake_temporarily():
        return torch.zeros(tensor.shape, dtype=kwargs.get("dtype") or tensor.dtype)


def _one(dtype: torch.dtype) -> float | int | bool:
    if dtype == torch.bool:
        return True
    return 1.0 if dtype.is_floating_point else 1
