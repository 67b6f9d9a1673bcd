"""The arms of the sweep: which training images each arm of an experiment holds.

For a seed all real images lie in one random order, and so do those of each synthetic source; every arm takes a
beginning of each. So arms share their images and can be compared in pairs, the 2,500 real images are among the 5,000,
and the synthetic ones of 1:1 among those of 1:2. Two families are controls: with synthetic images whose labels
are shuffled a classifier must do worse than with real images alone, with more real images better. An experiment whose
controls do not come out says nothing about synthetic images. The first presumes images that show something of their
labels: if a generator draws noise, shuffling takes nothing away.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import AfterValidator, Field

from dermray.config import Config

Role = Literal["negative control", "baseline", "mixed", "synthetic only", "positive control"]


def _each_once(ratios: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(ratios)) < len(ratios):
        raise ValueError("expected each ratio once")
    return tuple(sorted(ratios))


Ratios = Annotated[tuple[Annotated[float, Field(gt=0)], ...], AfterValidator(_each_once)]


class ArmSettings(Config):
    """Which arms there are beside real images alone. Every x is a number of images for each of the few real ones."""

    ratios: Ratios = Field((1.0, 2.0), description="1:x, the few real images and x times as many synthetic ones")
    synthetic_only: Ratios = Field((2.0,), description="0:x, no real image")
    shuffled: Ratios = Field((2.0,), description="1:x with the synthetic images' labels shuffled: the negative control")
    more_real: Ratios = Field((2.0,), description="x times as many real images more: the positive control")


@dataclass(frozen=True)
class Arm:
    """Images for each of the few real ones."""

    name: str
    role: Role
    real: float = 1  # 0 none, 1 the few, 3 three times as many
    synthetic_ratio: float = 0
    source: str = ""  # whose synthetic images; the only one's where there is no name
    shuffled: bool = False  # labels of the synthetic images

    @property
    def control(self) -> bool:
        """Whether it tells if the experiment can show anything."""
        return self.role.endswith("control")


def arms_of(settings: ArmSettings, sources: Sequence[str] = ("",)) -> list[Arm]:
    """All arms, a family for each synthetic source. Of one source arms are called as they are, of several by its name.

    Args:
        sources: names of the synthetic sources.
    """
    several, arms = len(sources) > 1, list[Arm]()
    for source in sources:
        name = f"shuffled {source} labels" if several else "shuffled labels"
        arms += [
            Arm(name + _one(x, of=settings.shuffled), "negative control", 1, x, source, shuffled=True)
            for x in settings.shuffled
        ]
    arms.append(Arm("real only", "baseline"))
    for source in sources:
        name = source if several else "synthetic"
        arms += [Arm(f"real + {name} 1:{x:g}", "mixed", 1, x, source) for x in settings.ratios]
        alone = settings.synthetic_only
        arms += [Arm(f"{name} only{_one(x, of=alone, real=0)}", "synthetic only", 0, x, source) for x in alone]
    more = settings.more_real
    return arms + [Arm(f"more real{_one(x, of=more)}", "positive control", 1 + x) for x in more]


def _one(ratio: float, of: Sequence[float], real: int = 1) -> str:
    """The ratio, where a name alone would not tell one of several."""
    return f" {real}:{ratio:g}" if len(of) > 1 else ""


class Chosen(NamedTuple):
    """An arm's training images."""

    real: np.ndarray  # (R,) numbers of the real images
    synthetic: np.ndarray  # (S,) numbers of its source's images
    labels: np.ndarray  # (R + S,) of both, in that order


def needed(arm: Arm, few: int) -> tuple[int, int]:
    """How many real and how many synthetic images the arm takes where `few` are the few."""
    return round(few * arm.real), round(few * arm.synthetic_ratio)


def choose(
    arm: Arm, real_labels: np.ndarray, synthetic_labels: np.ndarray, few: int, seed: int, balanced: bool = False
) -> Chosen:
    """The images of an arm.

    Args:
        real_labels, synthetic_labels: (N,) class numbers of all there are. balanced: as many of every class, as paper
            002 (section 3.1); else the classes keep their shares.

    Raises:
        ValueError: more images asked for than there are.
    """
    require_enough(arm, real_labels, synthetic_labels, few, balanced)
    many = needed(arm, few)
    real = first_real(real_labels, many[0], seed, balanced)
    synthetic = first_synthetic(synthetic_labels, many[1], seed, balanced)
    made_up = synthetic_labels[synthetic]
    if arm.shuffled:
        made_up = np.random.default_rng((seed, 5)).permutation(made_up)
    return Chosen(real, synthetic, np.concatenate([real_labels[real], made_up]))


def first_real(labels: np.ndarray, number: int, seed: int, balanced: bool) -> np.ndarray:
    """(number,) the real images that all arms of a seed take in this order."""
    return (balanced_order if balanced else stratified_order)(labels, seed)[:number]


def first_synthetic(labels: np.ndarray, number: int, seed: int, balanced: bool) -> np.ndarray:
    """(number,) the same of a synthetic source."""
    return first_real(labels, number, seed + 1, balanced)


def require_enough(
    arm: Arm, real_labels: np.ndarray, synthetic_labels: np.ndarray, few: int, balanced: bool = False
) -> None:
    """Refuse an arm that needs more images than there are; arguments as of `choose`.

    Raises:
        ValueError: how many it needs, and how many there are.
    """
    real, synthetic = needed(arm, few)
    for what, labels, wanted, remedy in (
        ("real", real_labels, real, "add real images"),
        (f"{arm.source} synthetic".strip(), synthetic_labels, synthetic, "draw more, or lower the ratio"),
    ):
        if wanted > (usable := most(labels, balanced)):
            told = f" with as many of every class ({len(labels)} in all)" if balanced else ""
            raise ValueError(
                f"arm {arm.name!r}: needs {wanted} {what} images for real_images={few}, there are {usable}{told}; "
                f"lower real_images, or {remedy}"
            )


def most(labels: np.ndarray, balanced: bool) -> int:
    """How many images can be taken: all, or as many of every class as the rarest has."""
    if not balanced or not len(labels):
        return len(labels)
    counts = np.unique(labels, return_counts=True)[1]
    return int(counts.min() * len(counts))


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A random order of all images in which every beginning has all classes in their shares, as far as it can."""
    rng = np.random.default_rng((seed, 3))
    position = np.empty(len(labels))
    for members in _classes(labels, rng):
        position[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(position, kind="stable")


def balanced_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A random order of all images in which every beginning has as many of each class, while these last."""
    rng = np.random.default_rng((seed, 3))
    position = np.empty(len(labels))
    for members in _classes(labels, rng):
        position[members] = np.arange(len(members)) + rng.random()
    return np.argsort(position, kind="stable")


def _classes(labels: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Each class's images in a random order."""
    for value in np.unique(labels):
        yield rng.permutation(np.flatnonzero(labels == value))
