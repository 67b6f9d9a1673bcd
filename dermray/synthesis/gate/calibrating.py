"""The thresholds, from real images that the generator never saw; and how many planted copies they catch."""

import functools
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from dermray import storage
from dermray.datasets.pixels import pixels
from dermray.manifest import Result
from dermray.picked import pick
from dermray.records import count_rows
from dermray.row_files import RowFiles
from dermray.synthesis.gate.calibration import FILE, LOOKS, Calibration, calibrated, read_calibration, recall
from dermray.synthesis.gate.copies import KINDS, planted
from dermray.synthesis.gate.gate import Looks, Seen
from dermray.synthesis.gate.settings import GateConfig
from dermray.training.run import image_size

UNSEEN = (pc.field("status") == "ok") & (pc.field("split") != "train")  # by the generator
AT_A_TIME = 50  # real images of a task
PLANTED_AT_A_TIME = 15  # training images of a task, each in all kinds of copies


def calibrate(
    captioned: str | RowFiles,
    generator: Result,
    target: str,
    config: GateConfig,
    seed: int,
    resources: dict[str, float],
) -> Calibration:
    """Calibrate the gate whose index lies below `target`, and write that down. Done once.

    Raises:
        ValueError: no real image outside the train split.
    """
    if storage.exists(storage.join(target, FILE)):
        return read_calibration(target)
    # Without thresholds there is nothing to set or to catch.
    arguments = captioned, generator, target, config, seed, resources
    result = _measured(*arguments) if config.false_rate else calibrated(np.empty((0, 2)), 0)
    storage.write_bytes(storage.join(target, FILE), result.model_dump_json(indent=1).encode())
    return result


def _measured(
    captioned: str | RowFiles,
    generator: Result,
    target: str,
    config: GateConfig,
    seed: int,
    resources: dict[str, float],
) -> Calibration:
    import ray

    size, device = image_size(generator), "cuda" if resources.get("num_gpus") else "cpu"
    unseen, originals = ray.get(
        [
            ray.remote(held_out).remote(captioned, config.calibration_images),
            ray.remote(_originals).remote(captioned, target, config.planted, seed),
        ]
    )
    look = ray.remote(_distances).options(**resources)
    copy = ray.remote(_of_copies).options(**resources)
    looks = [look.remote(part, size, target, device) for part in _parts(unseen, AT_A_TIME)]
    copies = [copy.remote(part, size, target, seed, device) for part in _parts(originals, PLANTED_AT_A_TIME)]
    distances, found = np.concatenate(ray.get(looks)), ray.get(copies)
    return measured(distances, {kind: [part[kind] for part in found] for kind in KINDS}, config.false_rate)


def measured(
    real: np.ndarray, copies: dict[str, list[tuple[np.ndarray, np.ndarray]]], false_rate: float
) -> Calibration:
    """Thresholds from two thirds of the real images' distances, checked with the last third and with copies.

    Args:
        real: (n, 2). copies: of each kind in parts (m, 2) distances, and whether the nearest is the original.
    """
    checks = np.arange(len(real)) % 3 == 2
    found = calibrated(real[~checks], false_rate)
    wrong = [any(found.below(*each)) for each in real[checks].tolist()]
    return found.model_copy(
        update={
            "checked": len(wrong),
            "realised": float(np.mean(wrong)) if wrong else None,
            "recall": {
                kind: recall(found, np.concatenate([d for d, _ in parts]), np.concatenate([n for _, n in parts]))
                for kind, parts in copies.items()
            },
        }
    )


def require_held_out(rows: RowFiles, uri: str) -> None:
    """Refuse rows that a gate cannot be calibrated with, before anything is computed.

    Args:
        uri: of the rows' result, for the message.

    Raises:
        ValueError: there is no usable row outside the train split.
    """
    if not count_rows(rows, UNSEEN):
        raise ValueError(
            f"rows={uri}: no usable row outside the train split, and the memorisation gate is calibrated with such "
            "rows; ingest with fractions that hold some out, or give gate.false_rate=0, which rejects nothing"
        )


def held_out(captioned: str | RowFiles, most: int) -> pa.Table:
    """Real images that the generator never saw, one of each leak group: one patient's are no independent trials."""
    chosen = pick(captioned, ["leak_group"], UNSEEN, 3 * most)  # twice as many as are used, if groups are pairs
    groups, kept = set[Any](), list[int]()
    for place, group in enumerate(chosen["leak_group"].to_pylist()):
        if group is None or group not in groups:
            kept.append(place)
            groups.add(group)
    return chosen.take(kept[: most + most // 2])


def _originals(captioned: str | RowFiles, target: str, count: int, seed: int) -> pa.Table:
    """Training images that copies are made of."""
    index = Looks(target).index
    numbers = np.random.default_rng(seed).permutation(len(index))[:count]
    return pick(captioned, [], pc.field("sample_id").isin(index.sample_ids(numbers)))


def _parts(rows: pa.Table, size: int) -> list[pa.Table]:
    return [rows.slice(start, size) for start in range(0, len(rows), size)]


@functools.lru_cache(maxsize=1)
def _opened(target: str, device: str) -> Looks:
    """Once in each of Ray's processes."""
    return Looks(target, device)


def _distances(rows: pa.Table, size: int, target: str, device: str) -> np.ndarray:
    """(n, 2) of real images."""
    return distances_of(_opened(target, device), _images(rows, size))


def distances_of(looks: Looks, images: Tensor) -> np.ndarray:
    """(n, 2) of images (n, 3, S, S) uint8."""
    return np.array([_both(looks.seen(image)) for image in images])


def _of_copies(
    rows: pa.Table, size: int, target: str, seed: int, device: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each kind of copy (n, 2) distances, and whether the nearest is the original."""
    looks, originals = (
        _opened(target, device),
        list(zip(rows["sample_id"].to_pylist(), _images(rows, size), strict=True)),
    )
    return {kind: copies_seen(looks, kind, originals, seed) for kind in KINDS}


def copies_seen(
    looks: Looks, kind: str, originals: list[tuple[str, Tensor]], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A copy of each: (n, 2) distances, and (n, 2) whether the nearest is the original."""
    number = list(KINDS).index(kind)
    seen = [
        looks.seen(planted(image, kind, (seed, number, int.from_bytes(name.encode()[:8])))) for name, image in originals
    ]
    named = [[found.sample_id == name for found in each] for each, (name, _) in zip(seen, originals, strict=True)]
    return np.array([_both(each) for each in seen]), np.array(named)


def _images(rows: pa.Table, size: int) -> Tensor:
    return torch.from_numpy(pixels(rows, size))


def _both(seen: Seen) -> list[float]:
    return [getattr(seen, look).distance for look in LOOKS]
