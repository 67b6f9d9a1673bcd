"""Pictures of an evaluation, as PNG bytes."""

import io
from typing import Any

import numpy as np
from torch import Tensor


def figure_bytes(figure: Any) -> bytes:
    """A matplotlib figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    return buffer.getvalue()


def new_figure(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Figure and axes without a display or global state."""
    from matplotlib.figure import Figure

    figure = Figure(*args, **kwargs)
    return figure, figure.subplots()


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


def pca(real: Tensor, synthetic: Tensor) -> bytes:
    """Both sets' features (N, D) on the first two principal components of the real ones."""
    from sklearn.decomposition import PCA

    axes_of_real = PCA(n_components=2).fit(real.numpy())
    figure, axis = new_figure(figsize=(5.2, 4.4))
    for name, features, colour in (("real", real, "#30638e"), ("synthetic", synthetic, "#d1495b")):
        points = axes_of_real.transform(features.numpy())
        axis.scatter(
            points[:, 0], points[:, 1], s=9, alpha=0.55, label=f"{name} (n = {len(points)})", color=colour, lw=0
        )
    share = axes_of_real.explained_variance_ratio_
    axis.set_xlabel(f"first component ({share[0]:.0%} of the real variance)")
    axis.set_ylabel(f"second component ({share[1]:.0%})")
    for handle in axis.legend(frameon=False).legend_handles:
        handle.set_alpha(1)
        handle.set_sizes([30])
    return figure_bytes(figure)
