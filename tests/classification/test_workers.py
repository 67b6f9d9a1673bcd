"""Several workers on one classifier, held to one worker."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from dermray.backbones.networks import Backbone
from dermray.classification import team, workers
from dermray.classification.batches import InMemory
from dermray.classification.settings import TrainingSettings
from dermray.classification.training import Trained, train


def trained(**given: Any) -> Trained:
    """Of a network that has neither batch statistics nor dropout, so that the number of workers changes nothing."""
    rng = np.random.default_rng(0)
    images, labels = InMemory(rng.integers(0, 256, (40, 3, 32, 32), dtype=np.uint8)), rng.integers(0, 2, 40)
    backbone = Backbone(name="test_vit", learning_rate=1e-3, arguments={"img_size": 32})
    settings = TrainingSettings(epochs=2, batch_size=8, augmentation="none", balance="class_weights", keep="best")
    rows = np.arange(40)
    return train(images, rows[:29], labels[:29], (rows[29:], labels[29:]), backbone, settings, 2, 0, **given)


def member(rank: int, directory: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{directory}/meet", rank=rank, world_size=2)
    epochs: list[int] = []
    done = trained(report=lambda epoch, metrics: epochs.append(epoch))
    torch.save({"epochs": epochs, "history": done.history, "model": done.model.state_dict()}, f"{directory}/{rank}.pt")
    distributed.destroy_process_group()


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    for batch_size, workers_, better in ((3, 2, 4), (32, 3, 33), (4, 4, 8)):
        with pytest.raises(ValueError, match=f"batch_size={batch_size}: expected a multiple of .* take {better}"):
            team.require_shares(batch_size, workers_)
    team.require_shares(32, 4)


@pytest.mark.slow
def test_two_workers_train_what_one_does(tmp_path: Path) -> None:
    spawn(member, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    alone = trained()
    assert first["epochs"] == [1, 2] and second["epochs"] == [], "one of them reports"
    assert first["history"] == second["history"]
    for mine, theirs in zip(alone.history, first["history"], strict=True):
        assert mine["validation_loss"] == pytest.approx(theirs["validation_loss"], rel=1e-3)
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
    for name, tensor in alone.model.state_dict().items():
        assert torch.equal(first["model"][name], second["model"][name])
        assert torch.allclose(first["model"][name], tensor, atol=2e-3), name


def note(place: str, device: str) -> None:
    Path(place, f"rank {team.rank()} of {team.size()} on {device}").touch()


@pytest.mark.slow
@pytest.mark.soak
def test_a_trial_of_tune_may_have_several_workers(local_ray: None, tmp_path: Path) -> None:
    from ray import tune

    (tmp_path / "notes").mkdir()

    def trial(config: dict[str, Any]) -> None:
        workers.run(note, {"place": f"{tmp_path}/notes"}, 2, 1, 0, f"{tmp_path}/kept")
        tune.report({"done": 1})

    found = tune.Tuner(trial, run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0)).fit()
    assert not found.errors and found[0].metrics["done"] == 1
    assert sorted(path.name for path in (tmp_path / "notes").iterdir()) == ["rank 0 of 2 on cpu", "rank 1 of 2 on cpu"]
