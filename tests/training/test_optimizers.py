"""Prodigy and Lion as the loop sets them, against their libraries' own."""

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import Any

import lion_pytorch
import prodigyopt
import pytest
import torch
from torch import nn

from dermray.config import ConfigError, load, preset, validate
from dermray.train_loop import LoopConfig, State
from dermray.train_loop.optimizers import KEPT, doubtful, optimizer, rate_of
from dermray.train_loop.trainer import _prepare
from dermray.training.settings import TrainConfig

BETAS = (0.9, 0.99)


def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 3)


def learned(made: torch.optim.Optimizer, module: nn.Linear, steps: int = 30) -> float:
    """The loss after some steps towards the sum of the inputs."""
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        made.zero_grad()
        loss = (module(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        made.step()
    return loss.item()


@pytest.mark.parametrize("name", ["prodigy", "lion"])
def test_moves_as_its_library_moves(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    ours, theirs = line(), line()
    made = optimizer(name, list(ours.parameters()), 1.0 if name == "prodigy" else 0.01, BETAS, 0.1)
    assert capsys.readouterr().out == "", "Prodigy's own line is kept back"
    other: torch.optim.Optimizer
    if name == "prodigy":
        with contextlib.redirect_stdout(io.StringIO()):
            other = prodigyopt.Prodigy(
                theirs.parameters(), lr=1.0, betas=BETAS, weight_decay=0.1, use_bias_correction=True,
                safeguard_warmup=True,
            )  # fmt: skip
    else:
        other = lion_pytorch.Lion(theirs.parameters(), lr=0.01, betas=BETAS, weight_decay=0.1)
    assert learned(made, ours) == learned(other, theirs)
    assert torch.equal(ours.weight, theirs.weight) and not torch.equal(ours.weight, line().weight)


def test_prodigy_finds_a_rate_and_it_is_told() -> None:
    module = line()
    made = optimizer("prodigy", list(module.parameters()), 1.0, BETAS, 0.0)
    assert rate_of(made) == pytest.approx(1e-6), "where it begins"
    assert learned(made, module, 300) < 0.05
    assert 1e-3 < rate_of(made) < 1


def test_no_more_is_kept_than_the_table_says() -> None:
    for name in ("adamw", "muon", "prodigy", "lion"):
        module = nn.Linear(64, 64, bias=False)
        made = optimizer(name, list(module.parameters()), 1e-3, BETAS, 0.0)
        module(torch.ones(2, 64)).sum().backward()
        made.step()
        [state] = made.state.values()
        kept = sum(value.numel() for value in state.values() if isinstance(value, torch.Tensor) and value.numel() > 1)
        assert kept <= KEPT[name] * 64 * 64 and (name == "muon" or kept == KEPT[name] * 64 * 64)


def test_rates_where_none_is_given() -> None:
    rates = {
        name: validate(LoopConfig, {"steps": 1, "optimizer": name}).learning_rate for name in KEPT if "8" not in name
    }
    assert rates == {"adamw": 2e-3, "muon": 2e-3, "prodigy": 1.0, "lion": 2e-4}
    again = LoopConfig(**LoopConfig(steps=1, optimizer="lion", learning_rate=3e-4).model_dump())
    assert again.learning_rate == 3e-4
    with pytest.raises(ConfigError, match="optimizer='sgd': Input should be 'adamw', .*'prodigy' or 'lion'$"):
        validate(LoopConfig, {"steps": 1, "optimizer": "sgd"})


def test_a_presets_rate_does_not_fit_prodigy() -> None:
    with pytest.raises(ConfigError, match=r"loop\.learning_rate=0\.0001: Prodigy finds the rate itself"):
        load(TrainConfig, preset("train/flux_lora_paper"), ["loop.optimizer=prodigy"])
    load(TrainConfig, preset("train/flux_lora_paper"), ["loop.optimizer=prodigy", "loop.learning_rate=1"])


def test_adamws_rate_for_lion_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _prepare(LoopConfig(steps=1, optimizer="lion", learning_rate=2e-3), str(tmp_path))
    assert "warning: loop.learning_rate=0.002 is much for optimizer=lion" in capsys.readouterr().out
    assert doubtful("lion", 2e-4) is None and doubtful("adamw", 2e-3) is None


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "prodigyopt" else find(name))
    with pytest.raises(ConfigError, match=r"needs prodigyopt: pip install 'dermray\[optimizers\]'"):
        validate(LoopConfig, {"steps": 1, "optimizer": "prodigy"})


def test_a_state_learns_with_the_one_it_is_asked_for() -> None:
    module = line()
    assert type(State(module, LoopConfig(steps=1, optimizer="lion")).optimizer).__name__ == "Lion"
    assert type(State(module, LoopConfig(steps=1, optimizer="prodigy")).optimizer).__name__ == "Prodigy"
