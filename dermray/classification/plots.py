"""Pictures of a sweep, as PNG bytes."""

from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from dermray.classification.arms import ARMS
from dermray.evaluation.plots import figure_bytes, new_figure

COLOURS = dict(
    zip([a.name for a in ARMS], ["#9a9a9a", "#30638e", "#e3a72f", "#d1495b", "#7b4b94", "#2a7f62"], strict=True)
)


def draw(trials: list[dict[str, Any]], images: dict[str, Any], config: Any) -> dict[str, bytes]:
    """`roc.png` and `arms.png`."""
    return {"roc.png": _roc(trials, images["test_labels"]), "arms.png": _arms(trials, config)}


def _roc(trials: list[dict[str, Any]], labels: np.ndarray) -> bytes:
    """One mean curve per arm over seeds and backbones."""
    figure, axis = new_figure(figsize=(5.2, 4.6))
    grid = np.linspace(0, 1, 101)
    for one in ARMS:
        chosen = [t for t in trials if t["arm"] == one.name]
        curves = [np.interp(grid, *roc_curve(labels, np.array(t["scores"]))[:2]) for t in chosen]
        mean = np.mean([t["auc"] for t in chosen])
        style = "--" if one.control else "-"
        axis.plot(
            grid, np.mean(curves, axis=0), style, color=COLOURS[one.name], label=f"{one.name} ({mean:.3f})", lw=1.6
        )
    axis.plot([0, 1], [0, 1], ":", color="#bbbbbb", lw=1)
    axis.set_xlabel("1 - specificity")
    axis.set_ylabel("sensitivity")
    axis.legend(frameon=False, fontsize=8, loc="lower right", title="arm (mean AUC); dashed: control", title_fontsize=8)
    return figure_bytes(figure)


def _arms(trials: list[dict[str, Any]], config: Any) -> bytes:
    """AUC of every trial by arm; lines join trials of one seed and backbone, which are pairs."""
    figure, axis = new_figure(figsize=(7.4, 4.2))
    names = [one.name for one in ARMS]
    for backbone, marker in zip([b.name for b in config.backbones], "os^vD*" * 4, strict=False):
        for seed in range(config.seeds):
            values = {t["arm"]: t["auc"] for t in trials if t["backbone"] == backbone and t["seed"] == seed}
            axis.plot(range(len(names)), [values[n] for n in names], "-", color="#dddddd", lw=1, zorder=1)
            label = backbone if seed == 0 else None
            colours = [COLOURS[n] for n in names]
            axis.scatter(
                range(len(names)), [values[n] for n in names], c=colours, marker=marker, s=26, zorder=2, label=label
            )
    means = [np.mean([t["auc"] for t in trials if t["arm"] == n]) for n in names]
    axis.scatter(range(len(names)), means, marker="_", s=900, color="#222222", zorder=3, label="mean of the arm")
    axis.set_xticks(
        range(len(names)), [n.replace(" + ", "\n+ ").replace(" labels", "\nlabels") for n in names], fontsize=8
    )
    axis.set_ylabel("AUC on real test images")
    axis.legend(frameon=False, fontsize=8)
    return figure_bytes(figure)
