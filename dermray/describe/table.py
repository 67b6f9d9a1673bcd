"""The counts as tables of text, a hundred columns wide, and as CSV."""

import csv
import io
import textwrap
from collections import Counter
from typing import Any

from dermray.datasets.leaks import Checked
from dermray.describe.counts import MISSABLE
from dermray.describe.lines import ALL, SIDE_NAMES, UNKNOWN, Line, Lines
from dermray.records import SKIN_TONES

WIDTH = 100  # columns of a terminal
LONGEST = 26  # letters of a source's name
REASONS = 12  # lines of what was rejected or failed
SHORT = {"patient_id": "patient", "lesion_id": "lesion", "malignant": "label", "skin_tone": "tone",
         "fitzpatrick": "fitzp.", "diagnosis": "diagn.", "modality": "type"}  # fmt: skip


def text(found: Lines, statuses: Counter[Any], proof: list[Checked], by_split: bool) -> str:
    """For people, at a terminal."""
    listed = [*(found.parts if by_split else found.sources), found.total]
    names = [_name(line, by_split) for line in listed]
    blocks = [
        _block("images", names, listed, _images),
        _block("people, tones", names, listed, _people),
        _block("shorter side, px", names, listed, _sides),
        _block("missing, %", names, listed, _missing),
        _block("splits", [line.split for line in found.splits], found.splits, _splits),
        _words("entities", found.total.entities),
        _words("diagnoses", found.total.diagnoses),
        _words("licences", found.total.licences),
        reasons(statuses),
        "\n".join(one.told() for one in proof),
    ]
    return "\n\n".join(block for block in blocks if block)


def reasons(statuses: Counter[Any]) -> str:
    """Why rows are not usable, the most frequent first."""
    counted = Counter[str]()
    for (_, status, reason), number in statuses.items():
        if status != "ok":
            counted[f"{status}: {reason}"] += number
    lines = [f"  {number:>9,}  {why}" for why, number in counted.most_common(REASONS)]
    if len(counted) > REASONS:
        lines.append(f"  and {len(counted) - REASONS} reasons more")
    return "\n".join([f"{counted.total():,} rows are not usable", *lines]) if lines else ""


def as_csv(found: Lines) -> str:
    """A line for each source, each of its splits, each split, and all."""
    rows = [line.flat() for line in (*found.sources, *found.parts, *found.splits, found.total)]
    sink = io.StringIO()
    table = csv.DictWriter(sink, list(dict.fromkeys(name for row in rows for name in row)), restval=0)
    table.writeheader()
    table.writerows(rows)
    return sink.getvalue()


def aligned(rows: list[list[str]]) -> list[str]:
    """The first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]


def _block(title: str, names: list[str], listed: list[Line], row: Any) -> str:
    if not listed:
        return ""
    rows = [row(line) for line in listed]
    cells = [[title, *rows[0]], *([name, *each.values()] for name, each in zip(names, rows, strict=True))]
    return "\n".join(aligned(cells))


def _name(line: Line, by_split: bool) -> str:
    name = f"{line.source} {line.split}" if by_split and line.split != ALL else line.source
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."


def _images(line: Line) -> dict[str, str]:
    numbers = {"images": line.images, "benign": line.label["benign"], "malignant": line.label["malignant"],
               "no label": line.label[UNKNOWN], "entities": len(line.entities.keys() - {UNKNOWN}),
               "patients": line.patients, "lesions": line.lesions, "groups": line.leak_groups}  # fmt: skip
    return {"type": line.kinds} | _said(numbers)


def _people(line: Line) -> dict[str, str]:
    tones = {tone: line.skin_tone[tone] for tone in SKIN_TONES} | {"no tone": line.skin_tone[UNKNOWN]}
    estimated = {"estimated": line.skin_tone_source.get("estimated", 0)}
    age, sex = line.age, line.sex
    people = {"no age": int(age[UNKNOWN] or 0), "female": sex["female"], "male": sex["male"], "no sex": sex[UNKNOWN]}
    return _said(tones | estimated) | {"age (quartiles)": ages(line)} | _said(people)


def ages(line: Line) -> str:
    """Median and quartiles in years."""
    first, median, third = (line.age[name] for name in ("quartile_1", "median", "quartile_3"))
    return "-" if median is None else f"{median:.0f} ({first:.0f}-{third:.0f})"


def _sides(line: Line) -> dict[str, str]:
    changed = sum(line.modifications.values())
    return _said({name: line.shorter_side[name] for name in SIDE_NAMES}) | {"changed by the decoder": f"{changed:,}"}


def _missing(line: Line) -> dict[str, str]:
    return {SHORT.get(name, name): percent(line.missing[name], line.images) for name in MISSABLE}


def percent(number: int, total: int) -> str:
    """In whole ones; neither 0 nor 100 is said where it is not quite so."""
    share = round(100 * number / total) if total else 0
    return "-" if not number else ">99" if share == 100 and number < total else "<1" if not share else str(share)


def _splits(line: Line) -> dict[str, str]:
    label = {"benign": line.label["benign"], "malignant": line.label["malignant"], "no label": line.label[UNKNOWN]}
    tones = {tone: line.skin_tone[tone] for tone in SKIN_TONES} | {"no tone": line.skin_tone[UNKNOWN]}
    known = {"patients": line.patients, "lesions": line.lesions, "groups": line.leak_groups}
    return _said({"images": line.images} | label | tones | known)


def _said(numbers: dict[str, int]) -> dict[str, str]:
    return {name: f"{number:,}" for name, number in numbers.items()}


def _words(title: str, numbers: dict[str, int]) -> str:
    said = ", ".join(f"{word} {number:,}" for word, number in numbers.items())
    return textwrap.fill(f"{title}: {said}", WIDTH, subsequent_indent="  ", break_on_hyphens=False) if said else ""
