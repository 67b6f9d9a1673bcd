"""Pictures of a sweep's analysis, as PNG bytes: metrics and gap against ratio, paired differences."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dermray.classification import plots
from dermray.classification.held_out import HeldOut, Scored
from dermray.classification.metrics import words
from dermray.classification.verdict import ALL_BACKBONES, BASELINE, POSITIVE, ZERO_SHOT
from dermray.figures import figure_bytes

MARKERS = "os^vD*PX"
ON_CURVE = (BASELINE, "mixed")  # roles with real images and a ratio
SYNTHETIC = "synthetic only"


def draw(analysis: dict[str, Any], scored: Sequence[Scored], held_out: Sequence[HeldOut]) -> dict[str, bytes]:
    """All pictures of one test set, by file name."""
    pictures = {
        "ratio.png": ratio_curve(analysis),
        "differences.png": differences(analysis),
        "roc.png": plots.roc(scored, held_out),
        "reliability.png": plots.reliability_plot(scored, held_out),
        "confusion.png": plots.confusion(scored, held_out),
    }
    return pictures | (
        {"gaps.png": gaps(analysis)} if any(row["gap"] is not None for row in analysis["fairness"]) else {}
    )


def ratio_curve(analysis: dict[str, Any]) -> bytes:
    """The metric, and accuracy, against synthetic images a real one, with 95% intervals: a line a backbone and source,
    a row of panels a metric, a column a real count. Hollow: synthetic images alone."""
    arms, shown = analysis["arms"], list(dict.fromkeys((analysis["metric"], "accuracy")))
    counts = sorted({row["real_images"] for row in arms})
    figure, axes = _panels(len(counts), len(shown))
    for metric, line_of_axes in zip(shown, axes, strict=True):
        for axis, few in zip(line_of_axes, counts, strict=True):
            against_ratio(axis, analysis, [row for row in arms if row["real_images"] == few], metric)
            axis.set_title(f"{few} real images", fontsize=9)
        line_of_axes[0].set_ylabel(f"{words(metric)} on {analysis['test_set']}")
    last = axes[-1][0]
    last.plot([], [], ":", color="#5f5f5f", lw=1.2, label="more real images (control)")
    if any(row["role"] == SYNTHETIC for row in arms):
        last.plot([], [], "o", color="#5f5f5f", mfc="w", ms=5, label="synthetic images alone (0:x)")
    return plots.with_legend(figure, last)


def against_ratio(axis: Any, analysis: dict[str, Any], panel: list[dict[str, Any]], metric: str) -> None:
    """One panel: arms of one real count."""
    backbones = list(dict.fromkeys(row["backbone"] for row in analysis["arms"]))
    names = backbones + [row["arm"] for row in analysis["zero_shot"]]
    tint = {name: plots.PALETTE[i % len(plots.PALETTE)] for i, name in enumerate(names)}
    places = _ratio_axis(axis, panel, alone=True)
    for i, (backbone, source, line) in enumerate(_lines(panel, ON_CURVE)):
        colour, marker = tint[backbone], MARKERS[i % 8]
        values = [row["metrics"][metric] for row in line]
        _intervals(axis, _ratios(line, i), values, colour, marker, f"{backbone} {source}".strip())
        for row in panel:
            if (row["role"], row["backbone"], row["source"]) == (SYNTHETIC, backbone, source):
                place = np.array([places[row["ratio"]] + _shift(line, i)])
                _intervals(axis, place, [row["metrics"][metric]], colour, marker, hollow=True)
    for row in panel:
        if row["role"] == POSITIVE:
            axis.axhline(row["metrics"][metric]["mean"], color=tint[row["backbone"]], ls=":", lw=1.2)
    for row in analysis["zero_shot"]:
        axis.axhline(row["metrics"][metric]["mean"], color=tint[row["arm"]], ls="-.", lw=1.2, label=row["arm"])
    if metric == "accuracy":
        images = [each["images"] for each in panel[0]["classes"].values()]
        axis.axhline(max(images) / sum(images), color="#bbbbbb", lw=1, label="always the commonest class")


def gaps(analysis: dict[str, Any]) -> bytes:
    """The gap between best and worst group against ratio: a panel an attribute, a line a real count."""
    rows = [row for row in analysis["fairness"] if row["gap"] is not None and row["role"] != ZERO_SHOT]
    attributes = list(dict.fromkeys(row["attribute"] for row in rows))
    figure, [axes] = _panels(len(attributes))
    for axis, attribute in zip(axes, attributes, strict=True):
        panel = [row for row in rows if row["attribute"] == attribute]
        for i, few in enumerate(sorted({row["real_images"] for row in panel})):
            colour, of_few = plots.PALETTE[i % len(plots.PALETTE)], [r for r in panel if r["real_images"] == few]
            for _, source, line in _lines(of_few, ON_CURVE):
                values = [{"mean": r["gap"], "low": r["gap_low"], "high": r["gap_high"]} for r in line]
                _intervals(axis, _ratios(line, i), values, colour, MARKERS[i % 8], f"{few} real {source}".strip())
            if (floor := of_few[0]["gap_floor"]) is not None:
                axis.axhline(floor, color=colour, ls="--", lw=1)
        axis.axhline(0, color="#bbbbbb", lw=0.8)
        axis.set_title(attribute.replace("_", " "), fontsize=9)
        _ratio_axis(axis, panel)
    axes[0].set_ylabel(f"{words(analysis['metric'])}: best group - worst group")
    axes[0].plot([], [], "--", color="#5f5f5f", lw=1, label="floor: groups shuffled, 95% lie below")
    return plots.with_legend(figure, axes[0])


def differences(analysis: dict[str, Any]) -> bytes:
    """Each comparison with real images alone: mean, 95% interval; filled where it came out after correction."""
    from matplotlib.figure import Figure

    rows = analysis["verdict"] + analysis["differences"]
    figure = Figure(figsize=(7.4, 0.8 + 0.27 * len(rows)))
    axis = figure.subplots()
    for i, row in enumerate(rows):
        colour = plots.PALETTE[2] if row["came_out"] else plots.PALETTE[1] if row["harmful"] else "#777777"
        axis.plot([row["low"], row["high"]], [i, i], color=colour, lw=1.6)
        axis.plot(row["mean"], i, "s" if row["control"] else "o", color=colour, mfc=colour if row["came_out"] else "w")
    axis.axvline(0, color="#222222", lw=0.8)
    if analysis["differences"]:
        axis.axhline(len(analysis["verdict"]) - 0.5, color="#cccccc", lw=0.8)
    axis.set_yticks(range(len(rows)), compared(analysis), fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(
        f"difference in {words(analysis['metric'])}; squares: controls; green: came out, red: does worse,\n"
        "both after Holm's correction, so that an interval beside 0 may be grey", fontsize=8,
    )  # fmt: skip
    return figure_bytes(figure)


def compared(analysis: dict[str, Any]) -> list[str]:
    """What each line of `differences` compares; backbones and real counts only where there are several."""
    rows = analysis["verdict"] + analysis["differences"]
    several = len({row["real_images"] for row in rows}) > 1
    return [
        f"{row['better']} - {row['worse']}"
        + (f", {_backbone(row)}" if analysis["differences"] else "")
        + (f", {row['real_images']} real" if several else "")
        for row in rows
    ]


def _backbone(row: dict[str, Any]) -> str:
    return "all backbones" if row["backbone"] == ALL_BACKBONES else str(row["backbone"])


def _ratio_axis(axis: Any, rows: list[dict[str, Any]], alone: bool = False) -> dict[float, float]:
    """Marks the ratios, `alone` also those of synthetic images alone, beside the others: where these are, by ratio."""
    ratios = sorted({row["ratio"] for row in rows if row["role"] in ON_CURVE})
    only = sorted({row["ratio"] for row in rows if row["role"] == SYNTHETIC}) if alone else []
    step = max(ratios[-1], 1) / 4
    places = {ratio: ratios[-1] + step * (number + 1.5) for number, ratio in enumerate(only)}
    if only:
        axis.axvline(ratios[-1] + 0.9 * step, color="#dddddd", lw=1)
    names = [f"1:{ratio:g}" for ratio in ratios] + [f"0:{ratio:g}" for ratio in only]
    axis.set_xticks(ratios + list(places.values()), names, fontsize=8, rotation=90 if len(names) > 7 else 0)
    axis.set_xlabel("real : synthetic")
    return places


def _lines(rows: list[dict[str, Any]], roles: Sequence[str]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Backbone, source and the rows from 1:0 upwards; the baseline begins the line of every source."""
    rows = [row for row in rows if row["role"] in roles]
    sources = list(dict.fromkeys(row["source"] for row in rows if row["role"] != BASELINE)) or [""]
    for backbone in dict.fromkeys(row["backbone"] for row in rows):
        for source in sources:
            line = [r for r in rows if r["backbone"] == backbone and (r["role"] == BASELINE or r["source"] == source)]
            yield backbone, source, sorted(line, key=lambda row: row["ratio"])


def _ratios(line: list[dict[str, Any]], number: int) -> np.ndarray:
    """Where a line's points lie: a little beside those of other lines, so that their intervals can be told apart."""
    return np.array([row["ratio"] for row in line], float) + _shift(line, number)


def _shift(line: list[dict[str, Any]], number: int) -> float:
    return 0.02 * number * max(1.0, *(float(row["ratio"]) for row in line))


def _intervals(
    axis: Any, x: np.ndarray, values: list[dict[str, float]], colour: str, marker: str, label: str = "",
    hollow: bool = False,
) -> None:  # fmt: skip
    mean, low, high = (np.array([value[k] for value in values]) for k in ("mean", "low", "high"))
    axis.errorbar(
        x, mean, np.stack([mean - low, high - mean]), color=colour, marker=marker, ms=4.5, lw=1.4, capsize=2.5,
        label=label or None, mfc="w" if hollow else colour,
    )  # fmt: skip


def _panels(columns: int, rows: int = 1) -> tuple[Any, Any]:
    """A figure and its axes, (rows, columns); a single column lies on its side, which takes less of a page."""
    from matplotlib.figure import Figure

    across, down = (rows, 1) if columns == 1 else (columns, rows)
    figure = Figure(figsize=(max(5.2, 3.6 * across), 0.9 + 3.1 * down), layout="constrained")
    axes = figure.subplots(down, across, sharey=columns > 1 and "row", squeeze=False)
    return figure, axes.reshape(rows, columns)
