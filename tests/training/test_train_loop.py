"""The loop on a tiny task; resume after kill -9 gives equal weights."""

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from dermray.config import ConfigError, decisive, load, preset, validate
from dermray.train_loop import LoopConfig, State, TrainingFailed, ema_update, fit, how_far, learning_rate
from dermray.train_loop.checkpoint import restore, save
from dermray.train_loop.log import mlflow_client
from dermray.train_loop.settings import Hopeless, images_of
from dermray.train_loop.snapshot import SNAPSHOT
from dermray.train_loop.state import step_seed
from dermray.train_loop.trainer import (
    TEMPORARY,
    _built,
    _going_on,
    _interrupts_kept,
    _run,
    last_checkpoint,
    room_for_checkpoints,
)
from dermray.training.order import Order
from dermray.training.run import TrainConfig
from tests.quickstart import wait_for


@dataclass
class LineTask:
    """Fits a line; slow enough to be interrupted, and bad from `bad_from` on. Whoever removes the file `trap` at step 7
    dies of it. Its validation loss is least at step 20."""

    pause: float = 0.0
    bad_from: int = 1 << 30
    trap: str = ""
    blind: bool = False  # its pictures cannot be drawn
    judge: float | None = 20.0  # its score; none where it cannot be had
    unused_parameters: bool = False

    def build(self) -> nn.Module:
        return Line()

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        time.sleep(self.pause)
        if self.trap and step == 7 and rank == 1 and Path(self.trap).exists():
            note = Path(self.trap).parent / "run" / "run" / "checkpoint_manager_snapshot.json"
            wait_for(lambda: note.is_file() and "checkpoint_" in note.read_text(), 60)
            Path(self.trap).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        self.step = step + 1
        x = torch.randn(8, 4)
        return (x * float("nan"),) if step >= self.bad_from else (x,)

    def describe(self, step: int, rank: int, workers: int, part: int) -> list[str]:
        return [f"samples of step {step} on rank {rank}"]

    def validation_loss(self, module: nn.Module) -> float | None:
        return abs(self.step - 20.0)

    def pictures(self, module: nn.Module) -> dict[str, torch.Tensor]:
        if self.blind:
            raise torch.OutOfMemoryError("no room for a picture")
        return {"line": torch.zeros(3, 4, 4, dtype=torch.uint8)}

    def words(self, module: nn.Module) -> dict[str, str]:
        return {}

    def scores(self, pictures: dict[str, torch.Tensor]) -> dict[str, float]:
        if self.judge is None:
            raise OSError("no room for a judge")
        return {f"score/{name}": self.judge for name in pictures}

    def save(self, module: nn.Module, directory: Path) -> None:
        directory.mkdir(parents=True)
        torch.save(module.state_dict(), directory / "weights.pt")


class Line(nn.Module):
    """Weights in blocks, and frozen ones beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.frozen = Net(), nn.Linear(1, 1).requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = ((self.net(x)[:, 0] - x.sum(1)) ** 2).mean()
        return loss


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks, self.dropout, self.out = nn.ModuleList([nn.Linear(4, 8)]), nn.Dropout(0.2), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = self.dropout(block(x))
        out: torch.Tensor = self.out(x)
        return out


class Apart(nn.Module):
    """Two models side by side, whose gradients are a million and a thousandth."""

    def __init__(self) -> None:
        super().__init__()
        self.loud, self.quiet = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def clipped_apart(self) -> list[list[nn.Parameter]]:
        return [[self.loud], [self.quiet]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (1e6 * self.loud + 1e-3 * self.quiet).sum()


CONFIG = LoopConfig(steps=40, batch_size=16, workers=2, checkpoint_every=5, log_every=5, learning_rate=1e-2)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(directory / "model" / "weights.pt", weights_only=True)
    return found


def test_the_schedule() -> None:
    config = LoopConfig(steps=100, learning_rate=1.0, warmup_steps=10, decay_from=0.6)
    half = config.model_copy(update={"schedule": "cosine"})
    assert learning_rate(80, half) == pytest.approx(0.5) and learning_rate(70, half) > 0.75
    assert learning_rate(99, config.model_copy(update={"schedule": "constant"})) == 1.0
    rates = [learning_rate(s, config) for s in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[10:60] == [1.0] * 50 and rates[99] == pytest.approx(1 / 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": (2, 1)}, "expected at least 1, and \\[min, max\\]"),
        ({"steps": 0}, "steps=0: expected at least 1, or epochs"),
        ({"epochs": 2}, "epochs=2: steps=1 says it too; leave one"),
        ({"workers": 0}, "expected at least 1"),
        ({"workers": (4, 16), "batch_size": 15}, "batch_size=15: expected at least one image for each of 16 workers"),
        ({"workers": 2, "batch_size": 8, "accumulate": 8}, "in each of 8 accumulated parts, 16"),
        ({"parallel": "fsdp", "precision": "fp16"}, "precision=fp16: does not go with parallel=fsdp"),
        ({"parallel": "fsdp", "optimizer": "muon"}, "optimizer=muon: does not go with parallel=fsdp"),
        ({"optimizer": "muon", "precision": "fp16"}, "optimizer=muon: does not go with precision=fp16"),
        ({"optimizer": "adamw8bit"}, "adamw8bit: needs a GPU; give gpus_per_worker=1"),
        (
            {"optimizer": "prodigy", "learning_rate": 1e-4},
            "=0.0001: Prodigy finds .* give learning_rate=1",
        ),
        ({"optimizer": "prodigy", "parallel": "fsdp"}, "optimizer=prodigy: does not go with parallel=fsdp"),
        ({"gpus_per_worker": 0.5, "workers": (1, 2)}, "NCCL refuses two workers on one GPU; give gpus_per_worker=1"),
        ({"gpus_per_worker": 1.5}, "gpus_per_worker=1.5: expected a share of one GPU, or a whole number"),
        ({"betas": (0.9, 1.0)}, "betas.1=1.0: Input should be less than 1"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(LoopConfig, {"steps": 1} | settings)


def test_gradients_of_models_side_by_side_are_clipped_apart() -> None:
    state = State(Apart(), CONFIG)
    state.advance(LineTask(), state.module, 0, 1)
    means = [state.optimizer.state[p]["exp_avg"].item() / (1 - CONFIG.betas[0]) for p in state.trained]
    assert means == pytest.approx([1.0, 1e-3], rel=1e-4), "the loud one alone is clipped, to a norm of 1"
    assert state.gradient_norm == pytest.approx(1e6)


def test_epochs_are_steps_once_the_images_are_counted() -> None:
    """Paper 002: five epochs of 508,344 images in batches of 16."""
    loop = validate(LoopConfig, {"epochs": 5, "batch_size": 16}).counted(508_344)
    assert (loop.steps, loop.epochs) == (158_858, None) and loop.counted(7) == loop
    assert load(TrainConfig, preset("train/flux_lora_paper")).loop.counted(508_344).steps == 158_858


def test_no_two_workers_have_the_same_noise() -> None:
    """Worker 1009 had worker 0's a step later."""
    ranks = (0, 1, 1008, 1009, 1010, 2018)
    seeds = {step_seed(seed, step, rank) for seed in range(3) for step in range(200) for rank in ranks}
    assert len(seeds) == 3 * 200 * len(ranks)
    assert step_seed(0, 0, 1009, seeds=1) == step_seed(0, 1, 0, seeds=1), "as checkpoints of before go on"


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 4))
def test_a_batch_is_dealt_out_whole(batch_size: int, workers: int, accumulate: int) -> None:
    assume(batch_size >= workers * accumulate)
    config = LoopConfig(steps=1, batch_size=batch_size, workers=workers, accumulate=accumulate)
    parts = [images_of(config, rank, workers, part) for rank in range(workers) for part in range(accumulate)]
    assert sum(parts) == batch_size
    order = Order([50], batch_size, seed=1)
    shares = [
        order.share(3, rank, workers)[1][part::accumulate] for rank in range(workers) for part in range(accumulate)
    ]
    assert [len(share) for share in shares] == parts


class Shown:
    """Hands out shares of 50 known images, and notes which were seen."""

    def __init__(self, batch_size: int, accumulate: int) -> None:
        torch.manual_seed(3)
        self.images, self.order, self.accumulate = torch.randn(50, 4), Order([50], batch_size, seed=1), accumulate
        self.seen: list[int] = []

    def arguments(self, module: nn.Module, step: int, rank: int, workers: int, part: int) -> tuple[Any, ...]:
        index = self.order.share(step, rank, workers)[1][part :: self.accumulate]
        self.seen += index.tolist()
        return (self.images[index],)


class Bare:
    """A module called as DDP is."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, x: torch.Tensor) -> Any:
        return self.module(x)

    def no_sync(self) -> Any:
        return nullcontext()


def step_of_all(state: State, task: Any, workers: int) -> float:
    """What `workers` of DDP do in a step, by one: gradients are summed over the ranks and divided by their number. The
    batch's mean loss: each rank gives its share."""
    update, losses = state._update, list[float]()
    for rank in range(workers):
        state._update = lambda: None  # type: ignore[method-assign]
        losses.append(state.advance(task, Bare(state.module), rank, workers))
    state._update = update  # type: ignore[method-assign]
    for weight in state.trained:
        assert weight.grad is not None
        weight.grad /= workers
    state._update()
    return sum(losses)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_workers_come_and_go_and_the_training_stays_the_same(accumulate: int, tmp_path: Path) -> None:
    """Four workers, then three, then five, over batches of 17: no image is left out or seen twice, and losses and
    weights are those of one worker but for rounding."""
    # no clipping: `step_of_all` has the whole gradient after the last rank only
    config = LoopConfig(
        steps=30, batch_size=17, workers=(1, 5), accumulate=accumulate, learning_rate=1e-2, clip_norm=1e9
    )
    torch.manual_seed(0)
    start = Line().eval()
    alone, task = State(copy.deepcopy(start), config), Shown(17, accumulate)
    expected = [step_of_all(alone, task, 1) for _ in range(30)]
    elastic, losses = Shown(17, accumulate), list[float]()
    for number, workers in enumerate((4, 3, 5)):
        state = State(copy.deepcopy(start), config)
        if number:
            restore(state, tmp_path / str(number - 1))
        losses += [step_of_all(state, elastic, workers) for _ in range(10)]
        (tmp_path / str(number)).mkdir()
        save(state, tmp_path / str(number), rank=0)
    assert sorted(elastic.seen) == sorted(task.seen) and set(Counter(task.seen).values()) <= {10, 11}, "30 x 17 of 50"
    assert losses == pytest.approx(expected, rel=1e-4)
    for mine, theirs in zip(state.trained, alone.trained, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_ema_is_the_weighted_mean_it_claims_to_be() -> None:
    averages, expected = [torch.zeros(1)], 0.0
    for update in range(1, 60):
        decay = min(0.9, 1 - 10 / (update + 20))
        expected = decay * expected + (1 - decay) * update
        ema_update(averages, [torch.tensor([float(update)])], update, 0.9)
    assert averages[0].item() == pytest.approx(expected, rel=1e-5)


def test_a_disk_that_is_too_small_is_found_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(Line(), CONFIG)
    room_for_checkpoints(state, str(tmp_path))
    count = sum(p.numel() for p in state.trained)
    for free, enough in ((count * 4 * 4 * 3, True), (count * 4 * 4 * 3 - 1, False)):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        with nullcontext() if enough else pytest.raises(Hopeless, match="0 MB are written here, and 3 lie here"):
            room_for_checkpoints(state, str(tmp_path))


def test_settings_that_do_not_go_together_are_not_tried_again() -> None:
    class Wrong(LineTask):
        def build(self) -> nn.Module:
            raise ValueError("rank 4, but model.rank=2")

    with pytest.raises(Hopeless, match="rank 4, but"):
        _built(Wrong())


def test_what_is_trained_is_in_training_mode_however_it_was_read() -> None:
    """Else dropout begins with the first preview, which leaves everything in training mode."""

    class Read(LineTask):
        def build(self) -> nn.Module:
            line = Line()
            line.net.eval()  # as diffusers' and transformers' from_pretrained
            return line

    assert all(part.training for part in _built(Read()).modules())


@pytest.mark.parametrize("directory", ["s3://no-such-bucket/train", "/proc/train"])
def test_a_place_that_cannot_be_written_is_found_before_ray_starts(
    directory: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dermray.cluster.connect", lambda _: pytest.fail("Ray was started"))
    with pytest.raises(OSError, match=r"no-such-bucket|/proc/train"):
        fit(LineTask(), CONFIG, directory)


def test_ctrl_c_is_heard_after_a_training_as_before() -> None:
    """Ray Train puts its own handler there, and leaves it."""
    before = signal.getsignal(signal.SIGINT)
    with _interrupts_kept():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_training_whose_controller_is_killed_says_how_to_go_on(tmp_path: Path) -> None:
    """`benchmarks.chaos_soak` has killed one. Ray says only that an actor died before its task was finished."""
    from ray.exceptions import ActorDiedError

    class Killed:
        def fit(self) -> None:
            raise ActorDiedError

    with pytest.raises(
        TrainingFailed, match=f"^{tmp_path}: training stopped: .* controller died; .* run again to go on"
    ):
        _run(Killed(), str(tmp_path))


@pytest.fixture(scope="module")
def whole(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """An uninterrupted training."""
    directory = tmp_path_factory.mktemp("whole")
    return fit(LineTask(), CONFIG, str(directory)), directory


@pytest.mark.slow
def test_a_killed_training_resumed_equals_an_uninterrupted_one(
    whole: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    report, directory = whole
    assert report["resumed_from"] == 0 and report["model_of_step"] == 40
    killed = tmp_path / "killed"
    script = f"from tests.training.test_train_loop import *\nfit(LineTask(pause=0.15), CONFIG, {str(killed)!r})\n"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True, env=environment,
                               stdout=log, stderr=subprocess.STDOUT)  # fmt: skip
    wait_for(lambda: len(list(killed.glob("run/checkpoint_*"))) > 1 or process.poll() is not None, 240)
    assert process.poll() is None, (tmp_path / "log").read_text()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(2)  # its workers notice that their raylet is gone
    assert not (killed / "model").exists(), "it was killed before it ended"
    resumed = fit(LineTask(), CONFIG, str(killed))
    assert resumed["resumed_from"] >= 5
    for name, tensor in weights(directory).items():
        assert torch.equal(tensor, weights(killed)[name]), name
    assert resumed["losses"] == report["losses"]


@pytest.mark.slow
def test_a_training_that_has_no_manifest_yet_is_not_made_again(whole: tuple[dict[str, Any], Path]) -> None:
    """As where a stage is killed, or its store is full, after the model was written: days of work stay."""
    report, directory = whole
    before = weights(directory)
    again = fit(LineTask(bad_from=0), CONFIG, str(directory))  # it would fail in any step
    assert again["losses"] == report["losses"] and again["model_of_step"] == report["model_of_step"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(directory).items())


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_best_checkpoint_kept(
    whole: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    """One of two workers dies at step 7; all steps are made, and MLflow has them in one run."""
    (tmp_path / "trap").touch()
    uri = f"file:{tmp_path}/mlflow"
    config = CONFIG.model_copy(update={"keep_best": True, "mlflow": uri})
    report = fit(LineTask(trap=str(tmp_path / "trap")), config, str(tmp_path / "run"))
    assert not (tmp_path / "trap").exists(), "a worker died"
    assert report["resumed_from"] == 5 and report["losses"] == whole[0]["losses"], "as if none had died"
    assert report["validation_losses"] == [[step, abs(step - 20)] for step in range(5, 41, 5)]
    assert report["model_of_step"] == 20
    client = mlflow_client(uri)
    [run] = client.search_runs([client.get_experiment_by_name("dermray").experiment_id])
    assert run.data.params["steps"] == "40" and run.info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(run.info.run_id, "train/loss")] == list(range(5, 41, 5))


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_with_the_samples_and_fewer_workers_go_on(
    local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checkpoint of two workers, in a run that has one: no step is made twice or left out."""
    with pytest.raises(TrainingFailed, match="loss is nan at step 12 on samples samples of step 12 on rank [01]"):
        fit(LineTask(bad_from=12), CONFIG.model_copy(update={"max_failures": 1}), str(tmp_path))
    last = last_checkpoint(str(tmp_path))
    assert last is not None and (last["step"], last["workers"], last["accumulate"]) == (10, 2, 1)
    assert re.fullmatch(r"last checkpoint of 20.{14} at step 10", how_far(str(tmp_path)))
    lists = tmp_path / "run"
    (lists / SNAPSHOT).write_bytes(b"")  # as a full disk leaves it
    shutil.copytree(next(lists.glob("checkpoint_*")), lists / "checkpoint_cut_short")
    capsys.readouterr()
    alone = CONFIG.model_copy(update={"workers": 1, "accumulate": 2, "pictures_every": 20})
    report = fit(LineTask(blind=True), alone, str(tmp_path))
    out = capsys.readouterr().out
    assert "cut short by a full disk; the list before it is taken" in out
    assert "going on from step 5 of 40 with 1 worker x 2 parts instead of 2 workers; steps" in out
    assert (report["resumed_from"], report["workers"]) == (5, 1)
    assert not (lists / "checkpoint_cut_short").exists()
    assert report["notes_lost"]["previews"] == 2, "a training goes on without them"
    assert [tuple(pair) for pair in report["workers_from_step"]] == [(0, 2), (5, 1)]
    assert [step for step, _ in report["losses"]] == list(range(5, 41, 5))
    left = {name.rstrip("/") for name in TEMPORARY}
    assert {"progress.txt", "notes_lost.json", "run"} <= left & set(os.listdir(tmp_path)), "what the manifest outlives"


def test_going_on_says_what_changes() -> None:
    other = CONFIG.model_copy(update={"workers": (1, 3), "accumulate": 4})
    assert decisive(other) == decisive(CONFIG), "the same directory is gone on in"
    same = {"step": 5, "workers": 2, "accumulate": 1}
    assert _going_on(same, CONFIG) == "going on from step 5 of 40"
    assert _going_on({"step": 5}, CONFIG) == "going on from step 5 of 40", "older checkpoints do not say more"
    elastic = CONFIG.model_copy(update={"workers": (1, 4)})
    assert _going_on(same, elastic) == "going on from step 5 of 40"
    assert "with 1 to 4 workers instead of 8 workers; " in _going_on(same | {"workers": 8}, elastic)


@pytest.mark.slow
def test_sharded_weights_learn_the_same(whole: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    """FSDP2 over two workers, one of which dies: the same weights as DDP's, but for the order of sums."""
    (tmp_path / "trap").touch()
    config = CONFIG.model_copy(update={"parallel": "fsdp"})
    report = fit(LineTask(trap=str(tmp_path / "trap")), config, str(tmp_path / "run"))
    assert report["resumed_from"] == 5
    for name, tensor in weights(whole[1]).items():
        torch.testing.assert_close(tensor, weights(tmp_path / "run")[name], rtol=1e-4, atol=1e-5)
