"""What a finished trial leaves: a small directory named by its key.

<trials>/<key>/scores.npz    probabilities of the test images, by test set, and of the validation images
<trials>/<key>/curve.json    a line of losses and metrics an epoch
<trials>/<key>/model/        its weights, where they are kept
<trials>/<key>/result.json   what tells it from others, its metrics; written last: without it the trial is to be run
"""

import io
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from dermray import storage

RESULT, SCORES, CURVE, MODEL = "result.json", "scores.npz", "curve.json", "model"
VALIDATION = "validation"  # its scores beside those of test sets
READERS = 16  # files read at once: in S3 each waits some 30 ms


def write(
    trials: str,
    key: str,
    result: Mapping[str, Any],
    scores: Mapping[str, np.ndarray],
    curve: list[dict[str, Any]],
    model: str | None = None,
) -> None:
    """A trial is finished. Two that were started for one key write the same.

    Args:
        trials: directory of all. scores: (N, C) float64 by test set. model: local directory of its weights, to keep.
    """
    place = storage.join(trials, key)
    storage.make_directory(place)
    packed = io.BytesIO()
    np.savez(packed, **{name: np.asarray(values, np.float64) for name, values in scores.items()})  # type: ignore[arg-type]  # numpy's stubs take the names for options
    storage.write_bytes(storage.join(place, SCORES), packed.getvalue())
    storage.write_bytes(storage.join(place, CURVE), json.dumps(curve).encode())
    if model is not None:
        storage.copy_directory(model, storage.join(place, MODEL))
    storage.write_bytes(storage.join(place, RESULT), json.dumps(dict(result)).encode())


def finished(trials: str, with_model: Iterable[str] = ()) -> set[str]:
    """Keys of the trials that are done.

    Args:
        with_model: keys of those that are done only where their weights are kept.
    """
    done = {file.rpartition("/")[0].rpartition("/")[2] for file in storage.list_files(trials, f"/{RESULT}")}
    return {key for key in done if key not in set(with_model) or storage.exists(model_of(trials, key))}


def model_of(trials: str, key: str) -> str:
    """Where a trial's weights lie if they are kept."""
    return storage.join(trials, key, MODEL)


def results(trials: str, keys: list[str]) -> list[dict[str, Any]]:
    """What finished trials wrote, in the order of `keys`."""
    with ThreadPoolExecutor(READERS) as pool:
        found = pool.map(lambda key: storage.read_bytes(storage.join(trials, key, RESULT)), keys)
        return [json.loads(text) for text in found]


def curve_of(trials: str, key: str) -> list[dict[str, Any]]:
    """A finished trial's losses and metrics, by epoch."""
    curve: list[dict[str, Any]] = json.loads(storage.read_bytes(storage.join(trials, key, CURVE)))
    return curve


def scores_of(trials: str, key: str) -> dict[str, np.ndarray]:
    """(N, C) float64 probabilities by test set, and of the validation images."""
    with np.load(io.BytesIO(storage.read_bytes(storage.join(trials, key, SCORES)))) as packed:
        return {name: packed[name] for name in packed.files}


def take_over(earlier: str, trials: str, keys: Iterable[str], with_model: Iterable[str] = ()) -> int:
    """Finished trials of another sweep among `keys`, so that they need not be run again: how many there were.

    Args:
        with_model: as for `finished`.
    """
    there = sorted(finished(earlier, with_model) & set(keys) - finished(trials, with_model))
    with ThreadPoolExecutor(READERS) as pool:
        list(pool.map(lambda key: _copy(storage.join(earlier, key), storage.join(trials, key)), there))
    return len(there)


def _copy(source: str, target: str) -> None:
    """The file that makes it finished is copied last."""
    storage.make_directory(target)
    if storage.exists(storage.join(source, MODEL)):
        storage.copy_directory(storage.join(source, MODEL), storage.join(target, MODEL))
    for name in (SCORES, CURVE, RESULT):
        storage.write_bytes(storage.join(target, name), storage.read_bytes(storage.join(source, name)))
