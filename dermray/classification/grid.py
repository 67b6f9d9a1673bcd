"""The trials of a sweep, and what each depends on.

A trial is known by its key, a hash of all that decides its result: its images, arm, backbone, training and seed. A
finished trial is found again by it, so that an interrupted sweep goes on, and a larger one runs what is new.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dermray.backbones.networks import Backbone
from dermray.classification.arms import Arm
from dermray.config import decisive


@dataclass(frozen=True)
class Trial:
    """One classifier to train."""

    key: str
    arm: Arm
    backbone: Backbone
    real_images: int  # the few
    seed: int  # 0, 1, ... within the sweep

    def named(self) -> dict[str, Any]:
        """What tells it from others, for tables and dashboards."""
        return {
            "arm": self.arm.name,
            "role": self.arm.role,
            "source": self.arm.source,
            "ratio": self.arm.synthetic_ratio,
            "backbone": self.backbone.name,
            "real_images": self.real_images,
            "seed": self.seed,
            "key": self.key,
        }


def grid(
    arms: Sequence[Arm],
    backbones: Sequence[Backbone],
    real_images: Sequence[int],
    seeds: int,
    shared: Mapping[str, Any],
    sources: Mapping[str, str],
    models: Mapping[str, Any],
) -> list[Trial]:
    """Every combination; one whole seed after the other, so that an unfinished sweep already compares all arms.

    Args:
        shared: what all trials depend on. sources: key of each synthetic source's result. models: what a trial depends
            on beside a backbone's config, by its name: the revision of its weights, and its images' size.
    """
    return [
        Trial(_key(arm, backbone, few, seed, shared, sources, models), arm, backbone, few, seed)
        for seed in range(seeds)
        for few in real_images
        for backbone in backbones
        for arm in arms
    ]


def _key(
    arm: Arm,
    backbone: Backbone,
    few: int,
    seed: int,
    shared: Mapping[str, Any],
    sources: Mapping[str, str],
    models: Mapping[str, Any],
) -> str:
    """An arm's name is no part of it, nor is a source's: what is drawn from is."""
    images = {name: value for name, value in asdict(arm).items() if name not in ("name", "role", "source")}
    drawn = sources[arm.source] if arm.synthetic_ratio else None
    model = [decisive(backbone), models[backbone.name]]
    return key_of(images, drawn, model, few, seed, shared)


def key_of(*parts: Any) -> str:
    """Sixteen hex digits of all that a result depends on."""
    plain = [dict(part) if isinstance(part, Mapping) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]
