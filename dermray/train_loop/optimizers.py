"""The optimisers by name: AdamW and what stands in its place, each from its own library."""

import contextlib
import importlib.util
import io
from typing import Any, Literal, get_args

import torch
from torch import nn

from dermray.config import ConfigError

Name = Literal["adamw", "adamw8bit", "muon", "prodigy", "lion"]
# Numbers of a weight that an optimiser keeps, at most. Prodigy's: two moments, the weight as it was at the start (one
# number for all of a weight that began as zeros, as an adapter's B does) and a sum of gradients.
KEPT: dict[str, int] = {"adamw": 2, "adamw8bit": 2, "muon": 2, "prodigy": 4, "lion": 1}
# Lion's step has the size of the rate whatever the gradient is: its paper (Chen et al. 2023, section 5) takes 3 to 10
# times less than for AdamW. Prodigy multiplies the rate that it finds by this.
RATES: dict[str, float] = {"prodigy": 1.0, "lion": 2e-4}
LIBRARIES = {"prodigy": ("prodigyopt", "prodigyopt"), "lion": ("lion_pytorch", "lion-pytorch")}  # module, package
NEAR_ONE = (0.1, 10.0)
AS_ADAMW = 1e-3  # from here on, a rate of Lion's is probably AdamW's
assert KEPT.keys() == set(get_args(Name))


def default_rate(settings: dict[str, Any]) -> float:
    """Of the optimiser in settings, where none is given."""
    return RATES.get(settings.get("optimizer", "adamw"), 2e-3)


def check_optimizer(name: str, rate: float) -> None:
    """Whether an optimiser is there, and a rate one that it can learn with.

    Raises:
        ConfigError: its library is not installed, or Prodigy's rate is not near 1.
    """
    if name in LIBRARIES:
        module, package = LIBRARIES[name]
        if importlib.util.find_spec(module) is None:
            raise ConfigError(f"optimizer={name}: needs {package}: pip install 'dermray[optimizers]'")
    if name == "prodigy" and not NEAR_ONE[0] <= rate <= NEAR_ONE[1]:
        raise ConfigError(
            f"learning_rate={rate:g}: Prodigy finds the rate itself and multiplies it by this, so it is 1, or near it "
            f"({NEAR_ONE[0]:g} to {NEAR_ONE[1]:g}); give learning_rate=1, or another optimizer"
        )


def doubtful(name: str, rate: float) -> str | None:
    """What may be wrong with a rate, for people; nothing where nothing is."""
    if name == "lion" and rate >= AS_ADAMW:
        return (
            f"loop.learning_rate={rate:g} is much for optimizer=lion: its steps are as large as the rate, whatever the "
            "gradient; 3 to 10 times less than for AdamW is usual, and as many times more weight_decay"
        )
    return None


def optimizer(
    name: str, weights: list[nn.Parameter], rate: float, betas: tuple[float, float], decay: float
) -> torch.optim.Optimizer:
    """The optimiser `name` of `weights`.

    Raises:
        ValueError: its library is not installed.
    """
    options: dict[str, Any] = {"lr": rate, "betas": betas, "weight_decay": decay}
    if name == "adamw":
        return torch.optim.AdamW(weights, fused=True, **options)
    if name == "muon":
        from dermray.train_loop.muon import Muon

        return Muon(weights, **options)
    if name == "lion":
        from lion_pytorch import Lion

        return Lion(weights, **options)
    if name == "prodigy":
        return _prodigy(weights, options)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise ValueError("optimizer=adamw8bit: needs bitsandbytes (pip install bitsandbytes) and a GPU") from None
    return AdamW8bit(weights, **options)


def _prodigy(weights: list[nn.Parameter], options: dict[str, Any]) -> torch.optim.Optimizer:
    """As diffusers' training scripts set it: Adam's bias correction, and a warm-up that does not mislead it."""
    from prodigyopt import Prodigy

    with contextlib.redirect_stdout(io.StringIO()):  # it prints a line of its own in each worker
        return Prodigy(weights, use_bias_correction=True, safeguard_warmup=True, **options)


def rate_of(made: torch.optim.Optimizer) -> float:
    """At which the last step was made: of Prodigy, what it found times the schedule's."""
    group = made.param_groups[0]
    return float(group["lr"]) * float(group.get("d", 1.0))
