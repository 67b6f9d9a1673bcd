"""A plan in words and tables, and as data for programs."""

from dataclasses import asdict
from typing import Any

from dermray.planning.figure import Figure
from dermray.planning.plan import Plan, Planned
from dermray.planning.rates import rates

WORDS = {
    "measured": "counted in results or files that are here, or timed by benchmarks/",
    "computed": "follows from the config and from what is measured",
    "published": "rests on somebody else's figure, whose source stands beside it or beside the rows",
    "assumed": "rests on an assumption, which stands beside it: the true figure may well be half or twice as much",
    "unknown": "nothing that it could be computed from is known; it is in no total",
}
LEFT_OUT = "Loading weights, starting nodes, reading images and restarts are in no figure."


def text(plan: Plan, what: str) -> str:
    """For people.

    Args:
        what: the config that was planned.
    """
    parts = [_head(plan, what), _table(_summary(plan), right=(2, 3)), *(_stage(stage) for stage in plan.stages)]
    parts += [_licences(plan), _missing(plan), _legend(plan)]
    return "\n\n".join(filter(None, parts))


def data(plan: Plan, what: str) -> dict[str, Any]:
    """For programs."""
    return {
        "config": what,
        "gpu": plan.gpu,
        "price_per_gpu_hour": plan.rate,
        "stages": [_stage_data(stage) for stage in plan.stages],
        "gpu_hours": asdict(plan.hours),
        "price": asdict(plan.price) if plan.price else None,
        "licences": [asdict(licence) | {"binds": stages} for licence, stages in plan.binding().items()],
        "missing": [asdict(lack) for lack in plan.missing],
    }


def value_told(name: str, figure: Figure) -> str:
    """A figure in the units that its name asks for."""
    if figure.value is None:
        return "unknown"
    if "(bytes)" in name:
        from dermray.training.bill import file_bytes

        shown = file_bytes(int(figure.value))
    elif name == "operations":
        shown = f"{figure.value:.3g}"
    else:
        few = name in ("GPU-hours", "endpoint's price")
        shown = hours_told(figure.value) if few else f"{figure.value:,.0f}"
    return f"{figure.bound} {shown}".strip()


def hours_told(hours: float | None) -> str:
    """Two digits."""
    return "" if hours is None else f"{hours:,.0f}" if hours >= 9.5 else f"{hours:.2g}"


def price_told(price: Figure | None) -> str:
    """With two decimals below a hundred."""
    if price is None or price.value is None:
        return "" if price is None else "unknown"
    shown = f"{price.value:,.2f}" if price.value < 100 else f"{price.value:,.0f}"
    return f"{price.bound} {shown}".strip()


def _head(plan: Plan, what: str) -> str:
    price = f", at {plan.rate:,.2f} an hour of one" if plan.rate is not None else ""
    return f"Plan of {what} on {plan.gpu} GPUs{price}. Nothing was started."


def _summary(plan: Plan) -> list[list[str]]:
    rows = [["stage", "what there is to do", "GPU-hours", "price"]]
    for stage in plan.stages:
        first = next(iter(stage.estimate.amounts.items()), None)
        amount = f"{value_told(*first)} {_unit(first[0])}" if first and first[1].value is not None else ""
        hours = value_told("GPU-hours", stage.estimate.hours)
        rows.append([stage.name, amount, hours, price_told(stage.price)])
    rows.append(["total", "", value_told("GPU-hours", plan.hours), price_told(plan.price)])
    return rows if plan.rate is not None else [row[:3] for row in rows]


def _unit(name: str) -> str:
    return name.partition(" (")[0]


def _stage(stage: Planned) -> str:
    named = stage.name if stage.name == stage.stage else f"{stage.name} ({stage.stage})"
    done = ": its output holds a result already, which answers if nothing is changed" if stage.done else ""
    figures = stage.estimate.amounts | {"GPU-hours": stage.estimate.hours}
    rows = [[f"  {name}", value_told(name, figure), figure.basis, figure.why] for name, figure in figures.items()]
    notes = [f"  Not in it: {note}." for note in stage.estimate.notes]
    return "\n".join([named + done, _table(rows, right=(1,)), *notes])


def _licences(plan: Plan) -> str:
    rows = [["of", "licence", "commercial use", "binds the results of"]]
    for licence, stages in plan.binding().items():
        rows.append([licence.of, licence.licence or "not known", licence.use, ", ".join(stages)])
    return "Licences that bind the result (no legal advice)\n" + _table(_indented(rows)) if rows[1:] else ""


def _missing(plan: Plan) -> str:
    lines = [f"  {lack.stage}.{lack.field}={lack.place}: {lack.state}\n    {lack.advice}" for lack in plan.missing]
    return "\n".join(["Missing here", *lines]) if lines else "Missing here: nothing that the configs name"


def _legend(plan: Plan) -> str:
    stages = plan.stages
    figures = [figure for stage in stages for figure in (*stage.estimate.amounts.values(), stage.estimate.hours)]
    used = {figure.basis for figure in figures}
    lines = [f"  {word:<10} {meaning}" for word, meaning in WORDS.items() if word in used]
    if any("at most" in figure.bound for figure in figures):
        lines.append(f"  {'at most':<10} there cannot be more rows; the rates are no surer for it")
    utilisation = f"Computed work is assumed to reach {rates().utilisation:g} of a card's peak."
    return "\n".join(["What the words mean", *lines, f"  {utilisation} {LEFT_OUT}"])


def _indented(rows: list[list[str]]) -> list[list[str]]:
    return [[f"  {row[0]}", *row[1:]] for row in rows]


def _table(rows: list[list[str]], right: tuple[int, ...] = ()) -> str:
    """Columns side by side; the last one as long as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row[:-1], widths, strict=True))
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)


def _stage_data(stage: Planned) -> dict[str, Any]:
    return {
        "name": stage.name,
        "stage": stage.stage,
        "figures": {name: asdict(figure) for name, figure in stage.estimate.amounts.items()},
        "gpu_hours": asdict(stage.estimate.hours),
        "price": asdict(stage.price) if stage.price else None,
        "notes": list(stage.estimate.notes),
        "licences": [licence.of for licence in stage.licences],
        "result_is_there": stage.done,
    }
