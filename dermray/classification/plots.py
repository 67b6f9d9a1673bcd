"""Pictures of classifiers by arm, as PNG bytes: ROC, reliability, confusion."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, roc_curve

from dermray.classification.held_out import HeldOut, Scored
from dermray.classification.metrics import decide, reliability
from dermray.figures import figure_bytes, new_figure

PALETTE = ("#30638e", "#d1495b", "#2a7f62", "#e3a72f", "#7b4b94", "#3fa7b8", "#b5651d", "#5f5f5f")
NEGATIVE_COLOUR = "#9a9a9a"
GRID = np.linspace(0, 1, 101)
RELIABILITY_BINS = 10
MOST_MATRICES = 12  # in one picture


def colours(scored: Sequence[Scored]) -> dict[str, str]:
    """A colour an arm, the same in all pictures of a sweep."""
    arms = {s.arm: s.role for s in scored}
    shown = [arm for arm, role in arms.items() if role != "negative control"]
    return dict.fromkeys(arms, NEGATIVE_COLOUR) | {arm: PALETTE[i % len(PALETTE)] for i, arm in enumerate(shown)}


def roc(scored: Sequence[Scored], held_out: Sequence[HeldOut]) -> bytes:
    """One curve an arm: the mean over its classifiers; of more than two classes also over classes, each against all
    others."""
    labels, tint = {part.split: part.labels for part in held_out}, colours(scored)
    figure, axis = new_figure(figsize=(5.2, 4.6))
    for arm, members in by_arm(scored).items():
        curves = [mean_roc(labels[s.split], s.probabilities) for s in members]
        style = "--" if members[0].role.endswith("control") else "-"
        axis.plot(GRID, np.mean(curves, axis=0), style, color=tint[arm], label=arm, lw=1.6)
    axis.plot([0, 1], [0, 1], ":", color="#bbbbbb", lw=1)
    axis.set_xlabel("1 - specificity")
    axis.set_ylabel("sensitivity")
    axis.legend(frameon=False, fontsize=8, loc="lower right", title="arm; dashed: control", title_fontsize=8)
    return figure_bytes(figure)


def mean_roc(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(101,) sensitivities of one classifier at the false positive rates of `GRID`; the mean over classes."""
    present = [1] if probabilities.shape[1] == 2 else np.unique(labels)
    curves = [np.interp(GRID, *roc_curve(labels == i, probabilities[:, i])[:2]) for i in present]
    mean = np.mean(curves, axis=0)
    mean[0] = 0  # np.interp gives the upper end of the first step
    return np.asarray(mean)


def reliability_plot(scored: Sequence[Scored], held_out: Sequence[HeldOut]) -> bytes:
    """Share that was right against confidence, all classifiers of an arm together; below, how many images lie where."""
    labels, tint = {part.split: part.labels for part in held_out}, colours(scored)
    figure, (axis, counts) = _stacked()
    for arm, members in by_arm(scored).items():
        truth = np.concatenate([labels[s.split] for s in members])
        said = np.concatenate([s.probabilities for s in members])
        confidence, right, count = reliability(truth, said, RELIABILITY_BINS)
        style = "--" if members[0].role.endswith("control") else "-"
        axis.plot(confidence, right, "o" + style, color=tint[arm], label=arm, lw=1.3, ms=3.5)
        edges = np.linspace(0, 1, RELIABILITY_BINS + 1)
        counts.stairs(count / count.sum(), edges, color=tint[arm], ls=style, lw=1.2)
    axis.plot([0, 1], [0, 1], ":", color="#bbbbbb", lw=1)
    binary = held_out[0].classes[1] if len(held_out[0].classes) == 2 else ""
    axis.set_ylabel(f"share that is {binary}" if binary else "share that is right", fontsize=9)
    axis.legend(frameon=False, fontsize=8)
    counts.set_xlabel(f"probability of {binary}" if binary else "highest probability")
    counts.set_ylabel("share of\nimages", fontsize=9)
    return figure_bytes(figure)


def _stacked() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.9))
    return figure, figure.subplots(2, 1, sharex=True, height_ratios=(4, 1), gridspec_kw={"hspace": 0.06})


def confusion(scored: Sequence[Scored], held_out: Sequence[HeldOut]) -> bytes:
    """A matrix an arm: of the images of each true class the share that was called what, mean over classifiers."""
    from matplotlib.figure import Figure

    parts, arms = {part.split: part for part in held_out}, by_arm(scored)
    shown, classes = list(arms)[:MOST_MATRICES], held_out[0].classes
    columns = min(len(shown), 3 if len(classes) <= 4 else 2)
    rows = -(-len(shown) // columns)
    side = 1.5 + 0.42 * len(classes)
    figure = Figure(figsize=(columns * side, rows * side), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, arm in zip(axes, shown, strict=False):
        matrices = [_shares(parts[s.split], s) for s in arms[arm]]
        _matrix(axis, np.mean(matrices, axis=0), classes)
        axis.set_title(arm, fontsize=8)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    return figure_bytes(figure)


def _shares(part: HeldOut, scored: Scored) -> np.ndarray:
    called = decide(scored.probabilities, scored.threshold)
    counts = confusion_matrix(part.labels, called, labels=np.arange(len(part.classes)))
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1))


def _matrix(axis: Any, shares: np.ndarray, classes: Sequence[str]) -> None:
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            axis.text(j, i, f"{share:.2f}", ha="center", va="center", fontsize=7, color="w" if share > 0.6 else "#222")
    axis.set_xticks(range(len(classes)), classes, fontsize=7, rotation=45 if len(classes) > 2 else 0)
    axis.set_yticks(range(len(classes)), classes, fontsize=7, rotation=0 if len(classes) > 2 else 90, va="center")
    axis.set_xlabel("called", fontsize=7)
    axis.set_ylabel("is", fontsize=7)


def by_arm(scored: Sequence[Scored]) -> dict[str, list[Scored]]:
    """An arm's classifiers, of all seeds, backbones and splits."""
    return {arm: [s for s in scored if s.arm == arm] for arm in dict.fromkeys(s.arm for s in scored)}
