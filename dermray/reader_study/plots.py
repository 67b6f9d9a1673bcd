"""Pictures of a reader study, as PNG bytes: confusion matrices, ROC curves with readers as points."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from dermray.classification.plots import PALETTE
from dermray.figures import figure_bytes, new_figure
from dermray.reader_study.answers import Answer
from dermray.reader_study.machines import Machine
from dermray.reader_study.questions import Question

COLUMNS = 4  # of small pictures


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> bytes:
    """Images by true class (down) and answer (across), as paper 000 draws them: x is predicted, y is true."""
    numbers = np.array(counts)
    shares = numbers / np.maximum(numbers.sum(1, keepdims=True), 1)
    figure, axis = new_figure(figsize=(1.6 + 0.42 * len(classes), 1.4 + 0.42 * len(classes)))
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(numbers):
        axis.text(j, i, str(count), ha="center", va="center", fontsize=8, color="w" if shares[i, j] > 0.6 else "#222")
    axis.set_xticks(range(len(classes)), classes, fontsize=8, rotation=45 if len(classes) > 2 else 0)
    axis.set_yticks(range(len(classes)), classes, fontsize=8)
    axis.set_xlabel("answer", fontsize=9)
    axis.set_ylabel("truth", fontsize=9)
    axis.set_title(title, fontsize=9)
    return figure_bytes(figure)


def roc(truth: np.ndarray, answer: Answer, title: str) -> bytes:
    """One reader's curve of each class against the rest (paper 000, figure 2); of two classes of the second alone."""
    figure, axis = new_figure(figsize=(4.4, 4.2))
    known, scores = answer.known, answer.scores()
    for k in _shown(answer.question, truth[known]):
        false, true, _ = roc_curve(truth[known] == k, scores[known, k], drop_intermediate=False)
        axis.plot(false, true, "-o", ms=2.5, lw=1.4, color=PALETTE[k % len(PALETTE)], label=answer.question.classes[k])
    _dress(axis, title)
    axis.legend(frameon=False, fontsize=8, loc="lower right")
    return figure_bytes(figure)


def against(truth: np.ndarray, machine: Machine, answers: Sequence[tuple[str, Answer]]) -> bytes:
    """The classifier's curve of each class, and each reader's answers as a point beside it."""
    from matplotlib.figure import Figure

    shown = _shown(machine.question, truth)
    columns = min(len(shown), COLUMNS)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.9 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, k in zip(axes, shown, strict=False):
        false, true, _ = roc_curve(truth == k, machine.scores[:, k], drop_intermediate=False)
        axis.plot(false, true, color="#5f5f5f", lw=1.4, label=machine.name)
        for number, (name, answer) in enumerate(answers):
            axis.plot(*point(truth, answer, k), "o", ms=6, color=PALETTE[number % len(PALETTE)], label=name)
        _dress(axis, machine.question.classes[k], labelled=axis.get_subplotspec().is_first_col())
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure_bytes(figure)


def point(truth: np.ndarray, answer: Answer, number: int) -> tuple[float, float]:
    """1 - specificity and sensitivity of a reader's answers for one class against the rest; nan where undefined."""
    known, true = answer.known, truth == number
    called = answer.said == number
    with np.errstate(invalid="ignore"):
        false_rate = np.float64((called & ~true & known).sum()) / (~true & known).sum()
        return float(false_rate), float(np.float64((called & true).sum()) / (true & known).sum())


def _shown(question: Question, truth: np.ndarray) -> list[int]:
    """Classes that have a curve."""
    present = [k for k in range(len(question.classes)) if 0 < (truth == k).sum() < len(truth)]
    return present[1:] if len(question.classes) == 2 else present


def _dress(axis: Any, title: str, labelled: bool = True) -> None:
    axis.plot([0, 1], [0, 1], ":", color="#bbbbbb", lw=1)
    axis.set_xlabel("1 - specificity", fontsize=8)
    axis.set_ylabel("sensitivity" if labelled else "", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.set_title(title, fontsize=9)
