"""What finished trials leave, on a disk and in S3."""

from pathlib import Path

import numpy as np
import pytest

from dermray import storage
from dermray.classification import trial_files
from dermray.classification.table import LiveTable
from tests.classification.stand_in_trials import trials

SCORES = {"test": np.random.default_rng(0).dirichlet(np.ones(3), 5), "validation": np.zeros((0, 3))}


def leave(place: str, key: str, model: str | None = None) -> None:
    trial_files.write(place, key, {"key": key, "auc": 0.75}, SCORES, [{"step": 1.0, "loss": 0.5}], model)


def test_a_trial_is_found_again_as_it_was_left(place: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir(exist_ok=True)
    (tmp_path / "model" / "weights").write_bytes(b"w")
    there = f"{place}/trials"
    assert trial_files.finished(there) == set()
    leave(there, "a", str(tmp_path / "model"))
    leave(there, "b")
    leave(there, "b")  # once more, by a worker that was thought dead
    assert trial_files.finished(there) == {"a", "b"} and trial_files.finished(there, ["a", "b"]) == {"a"}
    assert trial_files.results(there, ["b", "a"]) == [{"key": "b", "auc": 0.75}, {"key": "a", "auc": 0.75}]
    found = trial_files.scores_of(there, "a")
    assert found.keys() == SCORES.keys() and all(np.array_equal(found[name], SCORES[name]) for name in SCORES)
    assert storage.read_bytes(f"{trial_files.model_of(there, 'a')}/weights") == b"w"


def test_trials_are_taken_over_whole_or_not_at_all(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir(exist_ok=True)
    (tmp_path / "model" / "weights").write_bytes(b"w")
    old, new = f"{place}/old", f"{place}/new"
    for key in "abc":
        leave(old, key, str(tmp_path / "model") if key == "a" else None)
    leave(new, "c")
    write = storage.write_bytes

    def cut(uri: str, data: bytes) -> None:
        if uri.endswith("b/result.json"):
            raise KeyboardInterrupt
        write(uri, data)

    monkeypatch.setattr(storage, "write_bytes", cut)
    with pytest.raises(KeyboardInterrupt):
        trial_files.take_over(old, new, ["a", "b", "c", "x"])
    monkeypatch.setattr(storage, "write_bytes", write)
    assert trial_files.finished(new) >= {"c"} and "b" not in trial_files.finished(new)
    trial_files.take_over(old, new, ["a", "b", "c", "x"], with_model=["a"])
    assert trial_files.finished(new) == {"a", "b", "c"} and trial_files.finished(new, ["a"]) == {"a", "b", "c"}
    assert trial_files.take_over(old, new, ["a", "b", "c"]) == 0


def test_the_table_has_means_over_what_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = trials(2)
    table = LiveTable(str(tmp_path), chosen)
    assert table.read() == ""
    for trial, auc in zip(chosen[:7], (0.5, None, 0.7, 0.8, 0.9, 0.6, 0.6), strict=True):
        trial_files.write(str(tmp_path), trial.key, {"key": trial.key, "auc": auc}, SCORES, [])
    reading = table.read()
    assert (reading.done, reading.total) == (7, 12)  # type: ignore[union-attr]  # it is Progress
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert shown[:3] == ["mean AUC (trials)     test_resnet, 100 real", "shuffled labels       0.550 (2)",
                         "real only             -"]  # fmt: skip
    assert table.read() == reading and capsys.readouterr().out == "", "it is not shown again before more is done"
