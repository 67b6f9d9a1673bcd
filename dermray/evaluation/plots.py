"""Pictures of an evaluation, as PNG bytes."""

from typing import Any

import numpy as np
from scipy.stats import gaussian_kde
from torch import Tensor

from dermray.figures import figure_bytes, new_figure

COLOURS = ("#30638e", "#d1495b")  # of real and synthetic


def grid(rows: list[tuple[str, Tensor]], columns: int = 10, tile: int = 96) -> bytes:
    """Labelled rows of images (N, 3, S, S) uint8, at most `columns` of each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * 0.95 + 2.2, len(rows) * 1.0))
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for axis, (label, images) in zip(axes, rows, strict=True):
        strip = np.concatenate(list(images[:columns].permute(0, 2, 3, 1).numpy()), axis=1)
        axis.imshow(strip, interpolation="nearest", extent=(0, len(images[:columns]) * tile, 0, tile))
        axis.set_xlim(0, columns * tile)
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_visible(False)
    figure.subplots_adjust(hspace=0.06)
    return figure_bytes(figure)


def pca(sets: dict[str, np.ndarray], title: str) -> bytes:
    """Features (N, D) by name on the first two principal components of the first set's."""
    axes_of_first, places = _components(sets)
    figure, axis = new_figure(figsize=(5.2, 4.4))
    for (name, points), colour in zip(places.items(), COLOURS, strict=True):
        axis.scatter(*points.T, s=9, alpha=0.55, label=f"{name} (n = {len(points)})", color=colour, lw=0)
    share = axes_of_first.explained_variance_ratio_
    axis.set_xlabel(f"first component ({share[0]:.0%} of the real variance)")
    axis.set_ylabel(f"second component ({share[1]:.0%})")
    axis.set_title(title, fontsize=10)
    for handle in axis.legend(frameon=False).legend_handles:
        handle.set_alpha(1)
        handle.set_sizes([30])
    return figure_bytes(figure)


def density(sets: dict[str, np.ndarray], title: str) -> bytes:
    """Densities along the same two components, a panel each; a set without spread there is a line."""
    from matplotlib.figure import Figure

    _, places = _components(sets)
    figure = Figure(figsize=(7.6, 2.9))
    for number, axis in enumerate(figure.subplots(1, 2)):
        values = {name: points[:, number] for name, points in places.items()}
        low, high = (extreme(list(map(extreme, values.values()))) for extreme in (np.min, np.max))
        grid_points = np.linspace(low - 0.25 * (high - low), high + 0.25 * (high - low), 300)
        for (name, along), colour in zip(values.items(), COLOURS, strict=True):
            if along.std() < 1e-6 * max(high - low, 1e-12):
                axis.axvline(along[0], color=colour, label=name)
                continue
            heights = gaussian_kde(along)(grid_points)
            axis.plot(grid_points, heights, color=colour, label=name)
            axis.fill_between(grid_points, heights, color=colour, alpha=0.15, lw=0)
        axis.set_xlabel(f"{('first', 'second')[number]} component")
        axis.set_yticks([])
        axis.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("density")
    figure.suptitle(title, fontsize=10)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure_bytes(figure)


def _components(sets: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    from sklearn.decomposition import PCA

    first = next(iter(sets.values()))
    fitted = PCA(n_components=2, random_state=0).fit(first)
    return fitted, {name: fitted.transform(features) for name, features in sets.items()}
