"""Pictures of classifiers by arm, as PNG bytes: ROC, reliability, confusion."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix, roc_curve

from dermray.classification.held_out import HeldOut, Scored
from dermray.classification.metrics import decide, reliability
from dermray.classification.panels import MOST_MATRICES, panels, smallest
from dermray.classification.verdict import NEGATIVE
from dermray.figures import figure_bytes

PALETTE = ("#30638e", "#d1495b", "#2a7f62", "#e3a72f", "#7b4b94", "#3fa7b8", "#b5651d", "#8a8d2b")
NEGATIVE_COLOURS = ("#9a9a9a", "#3c3c3c", "#c4b5b5", "#6f7785")
NEGATIVE_LINES = ("--", (0, (1, 1.2)), (0, (7, 1.5, 1, 1.5)), (0, (9, 4)))
GRID = np.linspace(0, 1, 101)
RELIABILITY_BINS = 10
COLUMNS = 3  # of panels


class Look(NamedTuple):
    """How an arm is drawn."""

    colour: str
    line: Any  # style, as matplotlib takes it


def looks(scored: Sequence[Scored]) -> dict[str, Look]:
    """An arm's look, the same in all pictures of a sweep: controls are dashed, negative ones grey as well."""
    found, numbers = dict[str, Look](), {True: 0, False: 0}
    for arm, role in {s.arm: s.role for s in scored}.items():
        number = numbers[role == NEGATIVE]
        numbers[role == NEGATIVE] += 1
        if role == NEGATIVE:
            found[arm] = Look(NEGATIVE_COLOURS[number % 4], NEGATIVE_LINES[number % 4])
        else:
            usual = "-" if number < len(PALETTE) else "-."  # colours begin again
            found[arm] = Look(PALETTE[number % len(PALETTE)], "--" if role.endswith("control") else usual)
    return found


def roc(scored: Sequence[Scored], held_out: Sequence[HeldOut]) -> bytes:
    """One curve an arm, in the panels of `panels`: the mean over its classifiers; of more than two classes also over
    classes, each against all others."""
    labels, look, shown = {part.split: part.labels for part in held_out}, looks(scored), panels(scored)
    figure, rows = _grid(len(shown), heights=(1,), each=3.3)
    for [axis], panel in zip(rows, shown, strict=True):
        for arm, members in by_arm(panel.scored).items():
            curves = [mean_roc(labels[s.split], s.probabilities) for s in members]
            colour, line = look[arm]
            axis.plot(GRID, np.mean(curves, axis=0), ls=line, color=colour, label=arm, lw=1.6)
        axis.plot([0, 1], [0, 1], color="#dddddd", lw=1)
        axis.set_title(panel.title, fontsize=9)
        axis.set_xlabel("1 - specificity", fontsize=9)
        axis.set_ylabel("sensitivity", fontsize=9)
    return with_legend(figure, rows[0][0], "arm; dashed or dotted: control")


def mean_roc(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(101,) sensitivities of one classifier at the false positive rates of `GRID`; the mean over classes."""
    present = [1] if probabilities.shape[1] == 2 else np.unique(labels)
    curves = [np.interp(GRID, *roc_curve(labels == i, probabilities[:, i])[:2]) for i in present]
    mean = np.mean(curves, axis=0)
    mean[0] = 0  # np.interp gives the upper end of the first step
    return np.asarray(mean)


def reliability_plot(scored: Sequence[Scored], held_out: Sequence[HeldOut]) -> bytes:
    """Share that was right against confidence, all classifiers of an arm and panel together; below, how many images lie
    where."""
    labels, look, shown = {part.split: part.labels for part in held_out}, looks(scored), panels(scored)
    binary = held_out[0].classes[1] if len(held_out[0].classes) == 2 else ""
    figure, rows = _grid(len(shown), heights=(4, 1), each=3.9)
    for (axis, counts), panel in zip(rows, shown, strict=True):
        for arm, members in by_arm(panel.scored).items():
            truth = np.concatenate([labels[s.split] for s in members])
            said = np.concatenate([s.probabilities for s in members])
            confidence, right, count = reliability(truth, said, RELIABILITY_BINS)
            colour, line = look[arm]
            axis.plot(confidence, right, marker="o", ls=line, color=colour, label=arm, lw=1.3, ms=3)
            edges = np.linspace(0, 1, RELIABILITY_BINS + 1)
            counts.stairs(count / count.sum(), edges, color=colour, ls=line, lw=1.2)
        axis.plot([0, 1], [0, 1], color="#dddddd", lw=1)
        axis.set_xlim(-0.02, 1.02)
        axis.set_xticks([])
        axis.set_title(panel.title, fontsize=9)
        axis.set_ylabel(f"share that is {binary}" if binary else "share that is right", fontsize=9)
        counts.set_xlim(-0.02, 1.02)
        counts.set_xlabel(f"probability of {binary}" if binary else "highest probability", fontsize=9)
        counts.set_ylabel("share of\nimages", fontsize=8)
    return with_legend(figure, rows[0][0], "arm; dashed or dotted: control")


def _grid(number: int, heights: tuple[float, ...], each: float) -> tuple[Any, list[list[Any]]]:
    """A figure of so many panels, `each` inches high, and of each its axes, one above the other."""
    from matplotlib.figure import Figure

    columns = 2 if number == 4 else min(number, COLUMNS)
    lines = -(-number // columns)
    figure = Figure(figsize=(max(5.2, 3.5 * columns), each * lines + 0.9), layout="constrained")
    grid = figure.add_gridspec(lines * len(heights), columns, height_ratios=heights * lines)
    places = [divmod(i, columns) for i in range(number)]
    return figure, [
        [figure.add_subplot(grid[row * len(heights) + part, column]) for part in range(len(heights))]
        for row, column in places
    ]


def with_legend(figure: Any, axis: Any, title: str | None = None) -> bytes:
    """Below the panels, where it hides no point."""
    figure.legend(
        *axis.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center",
        ncols=min(COLUMNS, 1 + int(figure.get_figwidth() // 3)), title=title, title_fontsize=8, handlelength=3,
    )  # fmt: skip
    return figure_bytes(figure)


def confusion(scored: Sequence[Scored], held_out: Sequence[HeldOut]) -> bytes:
    """A matrix an arm: of the images of each true class the share that was called what, mean over its classifiers of
    the smallest real count."""
    from matplotlib.figure import Figure

    parts, arms = {part.split: part for part in held_out}, by_arm(smallest(scored))
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
