"""FSDP2 on two processes, without Ray: a family learns, draws and is saved as with DDP."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from dermray.generators.base import Generator, Request, family
from dermray.train_loop import LoopConfig, State
from dermray.train_loop.building import keep_frozen_apart
from dermray.train_loop.checkpoint import restore, save, save_model
from dermray.train_loop.settings import Hopeless
from dermray.train_loop.sharding import Sharded
from dermray.train_loop.state import whole
from tests.conftest import free_port
from tests.training.test_resume import FewImages

STEPS = LoopConfig(steps=4, batch_size=4, accumulate=2, warmup_steps=1, ema_decay=0.5)
SHARDED = STEPS.model_copy(update={"parallel": "fsdp"})


WAYS = [  # family, optimizer, kind of adapter
    ("flux_lora", "adamw", "lora"), ("flux_lora", "adamw", "dora"), ("flux_lora", "adamw", "lokr"),
    ("stable_diffusion_lora", "adamw", "lora"), ("dermdit", "lion", ""),
]  # fmt: skip


def sharded(task: FewImages, workers: int) -> tuple[State, Sharded]:
    torch.manual_seed(task.loop.seed)
    wrapped = Sharded(task.build, workers, torch.device("cpu"))
    return State(wrapped.module, task.loop), wrapped


def everything(state: State) -> list[Tensor]:
    """Weights, averages and the optimiser's tensors, whole."""
    moments = [value for weight in state.trained for _, value in sorted(state.optimizer.state[weight].items())]
    return [whole(tensor.detach()).clone() for tensor in (*state.trained, *state.ema, *moments)]


def learns_as_ddp(name: str, optimizer: str, kind: str, rank: int, directory: Path) -> None:
    by, model = {"optimizer": optimizer}, {"adapter": kind, "lokr_factor": 4} if kind else {}
    task, steps = FewImages(name, SHARDED.model_copy(update=by), model=model), STEPS.model_copy(update=by)
    plain = State(FewImages(name, steps, model=model).build(), steps)
    ddp = DistributedDataParallel(plain.module)
    state, fsdp = sharded(task, 2)
    for _ in range(2):
        plain.advance(task, ddp, rank, 2)
        state.advance(task, fsdp, rank, 2)
    for a, b in zip(plain.trained, state.trained, strict=True):
        torch.testing.assert_close(whole(b.detach()), a.detach(), rtol=1e-3, atol=1e-4)
    assert isinstance(state.module, Generator)
    with state.averaged() as module:
        drawn = module.sample([Request("benign", 1)], 2.0, 2)  # type: ignore[operator]
    averages = [whole(average) for average in state.ema]
    save_model(state, task, directory / name, rank)
    if rank == 0:
        loaded = family(name).load(directory / name).eval()
        difference = (loaded.sample([Request("benign", 1)], 2.0, 2).int() - drawn.int()).abs()
        assert difference.max() <= 1, "the saved model draws what the sharded one drew"
        kept = dict(loaded.named_parameters())
        names = [n for n, p in plain.module.named_parameters() if p.requires_grad]
        assert all(torch.equal(kept[n], average) for n, average in zip(names, averages, strict=True))


def goes_on(optimizer: str, rank: int, directory: Path) -> None:
    """Stopped after two of four steps, and gone on with in new objects."""
    task = FewImages("flux_lora", SHARDED.model_copy(update={"optimizer": optimizer}))
    state, fsdp = sharded(task, 2)
    for _ in range(2):
        state.advance(task, fsdp, rank, 2)
    save(state, directory, rank)
    half = everything(state)
    for _ in range(2):
        state.advance(task, fsdp, rank, 2)
    whole = everything(state)
    again, fsdp = sharded(task, 2)
    distributed.barrier()
    restore(again, directory)
    for _ in range(2):
        again.advance(task, fsdp, rank, 2)
    assert again.step == 4 and all(torch.equal(a, b) for a, b in zip(whole, everything(again), strict=True))
    if rank == 0:
        torch.save(half, directory / "half.pt")


class HalfFrozen(nn.Module):
    """Made otherwise in each process; a weight of eight bits, which no process can send to another."""

    def __init__(self) -> None:
        super().__init__()
        self.trained, self.frozen = nn.Linear(4, 4), nn.Linear(4, 4).requires_grad_(False)
        self.eight_bits = nn.Parameter(torch.randn(4, 4).to(torch.float8_e4m3fn), requires_grad=False)


def frozen_weights_stay_at_home(rank: int) -> None:
    """What is trained begins as rank 0's; what is frozen is read by every worker itself, and is not sent."""
    torch.manual_seed(rank)
    module = HalfFrozen()
    own = {name: weight.clone() for name, weight in module.frozen.state_dict().items()}
    with pytest.raises(RuntimeError):  # what DDP does by itself; every process is refused alike
        DistributedDataParallel(module)
    keep_frozen_apart(module)
    DistributedDataParallel(module)
    torch.manual_seed(0)
    first = HalfFrozen()
    for name, weight in first.trained.state_dict().items():
        assert torch.equal(module.trained.state_dict()[name], weight), "as rank 0's"
    for name, weight in own.items():
        assert torch.equal(module.frozen.state_dict()[name], weight), "its own"


def takes_its_turn(rank: int, directory: Path) -> None:
    """Notes when it built its model, which takes a moment."""

    def build() -> nn.Module:
        started = time.monotonic()
        module = FewImages("flux_lora", SHARDED).build()
        time.sleep(0.3)
        (directory / f"built-{rank}").write_text(json.dumps([started, time.monotonic()]))
        return module

    Sharded(build, 2, torch.device("cpu"))


def worker(rank: int, port: int, directory: Path) -> None:
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for name, optimizer, kind in WAYS:
        learns_as_ddp(name, optimizer, kind, rank, directory / (kind or "one"))
    (directory / "lion").mkdir(exist_ok=True)
    goes_on("lion", rank, directory / "lion")
    goes_on("adamw", rank, directory)
    frozen_weights_stay_at_home(rank)
    takes_its_turn(rank, directory)
    distributed.destroy_process_group()


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of this process alone."""
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{free_port()}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.slow
def test_sharded_training(alone: None, tmp_path: Path) -> None:
    """On two workers; then its checkpoint on one."""
    spawn(worker, (free_port(), tmp_path), nprocs=2)
    first, second = sorted(json.loads((tmp_path / f"built-{rank}").read_text()) for rank in (0, 1))
    assert first[1] <= second[0], "one whole model at a time in this machine's memory"
    state, _ = sharded(FewImages("flux_lora", SHARDED), 1)
    restore(state, tmp_path)
    half = torch.load(tmp_path / "half.pt", weights_only=True)
    assert state.step == 2 and all(torch.equal(a, b) for a, b in zip(half, everything(state), strict=True))


def test_weights_outside_of_any_part_are_refused(alone: None) -> None:
    with pytest.raises(Hopeless, match="parallel=fsdp: .* is in no part"):
        sharded(FewImages("pixel_dermdit", SHARDED), 1)
