"""Figures of matplotlib without a display or global state, as PNG."""

import io
from typing import Any


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


def loss_curve(training: dict[str, Any]) -> bytes:
    """Training loss by step, and that of the validation images if there is one, as `train_loop` reports them."""
    figure, axis = new_figure(figsize=(5.2, 2.6))
    for name, colour in (("losses", "#30638e"), ("validation_losses", "#d1495b")):
        if values := training.get(name):
            steps, losses = zip(*values, strict=True)
            axis.plot(steps, losses, color=colour, lw=1.4, label="train" if name == "losses" else "validation")
    if training.get("validation_losses"):
        axis.legend(frameon=False)
    axis.set_xlabel("step")
    axis.set_ylabel("loss")
    return figure_bytes(figure)
