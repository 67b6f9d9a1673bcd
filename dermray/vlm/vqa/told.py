"""The tables of a finished stage in a few lines, for a terminal."""

from typing import Any

HEADLINES = ("closed questions", "described attributes", "BLEU", "ROUGE-L", "BERTScore", "judge's grade",
             "states what no image shows", "names a diagnosis unasked")  # fmt: skip
NOTE = (
    "Differences: second less first, on the same answers. p (Holm) is corrected for all differences of this run; "
    "intervals are not. Before that no p is below 2 / (resamples + 1): one so small means at most so much."
)
ENOUGH = 20  # groups: the bootstrap of fewer gives intervals that are too narrow


def summary(result: dict[str, Any], names: list[str]) -> str:
    """What a person wants to know first."""
    groups = result["leak_groups"]
    few = "" if groups >= ENOUGH else f"; with fewer than {ENOUGH} do not trust intervals or p"
    lines = [f"{groups} leak groups; intervals of 95% resample them{few}"]
    for name in names:
        lines.append(name)
        cells = result["measures"][name]
        lines += [f"  {measure:28} {number(cells[measure])}" for measure in HEADLINES if measure in cells]
    headlines = [d for d in result["differences"] if d["measure"] in HEADLINES]
    for d in headlines:
        lines.append(f"{d['second']} - {d['first']}: {d['measure']:28} {number(d, sign='+')}{p(d)}")
    if headlines:
        lines.append(NOTE)
    for expert, found in ((result["judge"] or {}).get("experts") or {}).items():
        lines.append(f"judge and {expert}: weighted kappa {kappa(found)}")
    return "\n".join(lines)


def number(cell: dict[str, Any], sign: str = "") -> str:
    """Value, interval, N, and the floor where there is one."""
    interval = "" if cell["low"] is None else f" [{cell['low']:{sign}.3f}, {cell['high']:{sign}.3f}]"
    floor = f", floor {cell['floor']:.3f}" if "floor" in cell else ""
    return f"{cell['value']:{sign}.3f}{interval} (N {cell['n']}{floor})"


def p(cell: dict[str, Any]) -> str:
    """Of a difference, corrected."""
    return "" if cell.get("p_holm") is None else f", p (Holm) {cell['p_holm']:.3g}"


def kappa(found: dict[str, Any]) -> str:
    """Of a judge and an expert."""
    if found["weighted_kappa"] is None:
        return f"none: {found['n']} answers graded by both" + (", all alike" if found["n"] else "")
    interval = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
    return f"{found['weighted_kappa']:.2f}{interval} over {found['n']} answers"
