"""The arms of the sweep: which training images each arm of an experiment holds.

All arms of one seed share the same few real images and the same synthetic ones, so that they can be compared in
pairs. Two arms are controls: shuffled labels must do worse than real images alone, more real images better. An
experiment whose controls do not come out says nothing about synthetic images.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Arm:
    """Synthetic and additional real images per real one."""

    name: str
    real: bool  # whether the few real images are in
    synthetic_ratio: float = 0
    more_real_ratio: float = 0
    shuffled: bool = False  # labels of the synthetic images
    control: bool = False

    @property
    def role(self) -> str:
        """What the arm is compared with real images alone for; see verdict.py."""
        if self.control:
            return "negative control" if self.shuffled else "positive control"
        if self.real:
            return "mixed" if self.synthetic_ratio else "baseline"
        return "synthetic only"


ARMS = (
    Arm("shuffled labels", real=True, synthetic_ratio=2, shuffled=True, control=True),
    Arm("real only", real=True),
    Arm("real + synthetic 1:1", real=True, synthetic_ratio=1),
    Arm("real + synthetic 1:2", real=True, synthetic_ratio=2),
    Arm("synthetic only", real=False, synthetic_ratio=2),
    Arm("more real", real=True, more_real_ratio=2, control=True),
)
POSITIVE = "more real"


def arm(name: str) -> Arm:
    """The arm of that name."""
    return next(a for a in ARMS if a.name == name)


def choose(
    chosen: Arm, real_labels: np.ndarray, synthetic_labels: np.ndarray, few: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the real images, numbers of the synthetic ones, and the labels of both, in that order.

    Raises:
        ValueError: more images asked for than there are.
    """
    needed = round(few * (1 + chosen.more_real_ratio)) if chosen.real else 0
    real = stratified_order(real_labels, seed)[:needed]
    wanted = round(few * chosen.synthetic_ratio)
    synthetic = stratified_order(synthetic_labels, seed + 1)[:wanted]
    if len(real) < needed or len(synthetic) < wanted:
        raise ValueError(
            f"arm {chosen.name!r}: needs {needed} real and {wanted} synthetic images, there are {len(real_labels)} and "
            f"{len(synthetic_labels)}; lower real_images or draw more"
        )
    made_up = synthetic_labels[synthetic]
    if chosen.shuffled:
        made_up = np.random.default_rng((seed, 5)).permutation(made_up)
    return real, synthetic, np.concatenate([real_labels[real], made_up])


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A random order of all images in which every beginning has both classes in their shares, as far as it can."""
    rng = np.random.default_rng((seed, 3))
    position = np.empty(len(labels))
    for value in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == value))
        position[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(position, kind="stable")
