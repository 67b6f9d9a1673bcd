"""What the training captions hold, and what a config asks of them: all that can be wrong with a plan is found here."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from dermray.synthesis.cells import Cell, Cells, Listed, Over, cells_of
from dermray.synthesis.counts import CellCounts, asked, require_variety
from dermray.synthesis.deal import Deal
from dermray.synthesis.plan import Captions
from dermray.synthesis.plan_settings import Balanced, Exact, Plan
from dermray.synthesis.settings import SynthesisConfig

SHOWN = 12  # values of an attribute that an error names


@dataclass(frozen=True)
class Survey:
    """The index of captions, without the captions."""

    cells: dict[Cell, int]  # captions that can be prompts
    rest: Captions  # its `cells` are empty

    @classmethod
    def of(cls, captions: Captions) -> "Survey":
        """Of an index."""
        return cls({cell: len(entries) for cell, entries in captions.cells.items()}, replace(captions, cells={}))


@dataclass(frozen=True)
class Settled:
    """A plan, checked."""

    cells: list[CellCounts]
    deal: Deal
    warnings: list[str]
    left_out: int  # captions that the generator cannot read


def settle(config: SynthesisConfig, survey: Survey, metadata: tuple[str, ...]) -> Settled:
    """How many images of which cell.

    Args:
        metadata: that the generator's captions say.

    Raises:
        ValueError: there are no such rows, or what they have cannot make what is asked for.
    """
    cells, found = cells_of(config.plan), survey.rest
    _require_rows(cells, survey)
    said = _require_said(config, found, metadata)
    wanted = asked(config.plan, config.images, [found.real[cell] for cell in survey.cells])
    counted = [
        CellCounts(cells.name(cell), found.real[cell], captions, int(number))
        for (cell, captions), number in zip(survey.cells.items(), wanted, strict=True)
    ]
    _require_prompts(config, survey, counted)
    require_variety(counted, config.images_per_caption)
    deal = Deal(wanted, isinstance(config.plan, Balanced), config.seed)
    return Settled(counted, deal, said + _estimated(config.plan, found) + _left_out(cells, found), found.left_out)


def _require_rows(cells: Cells, survey: Survey) -> None:
    found = survey.rest
    if not found.rows:
        raise ValueError("no usable caption in the train split: nothing to plan with")
    if isinstance(cells, Listed):
        for number, cell in enumerate(cells.wanted):
            if (number,) not in survey.cells:
                there = "; ".join(f"{name}: {_values(found.values[name])}" for name in cell.where)
                raise ValueError(f"plan.cells.{number}: no training caption has {cell.where}; there are {there}")
        return
    _require_attributes(cells, found)
    if not survey.cells:
        unknown = [name for name in cells.attributes if name in cells.known]
        raise ValueError(f"plan.over: no training caption has known {' and '.join(unknown)} together; plan over fewer")


def _require_attributes(cells: Over, found: Captions) -> None:
    for name in cells.attributes:
        if not found.values[name]:
            known = {other: counts.total() for other, counts in found.values.items() if counts}
            there = ", ".join(f"{other} ({rows} rows)" for other, rows in known.items()) or "none"
            raise ValueError(
                f"plan.over: no training caption has a known {name}, out of {found.rows}; attributes with values: "
                f"{there}"
            )


def _values(counts: Counter[Any]) -> str:
    named = [f"{found} ({rows})" for found, rows in counts.most_common(SHOWN)]
    return ", ".join(named + ["..."] * (len(counts) > SHOWN)) or "no values"


def _require_prompts(config: SynthesisConfig, survey: Survey, counted: list[CellCounts]) -> None:
    """What is drawn from captions that cannot be read would all be alike."""
    mute = [cell for cell, counts in zip(survey.cells, counted, strict=True) if counts.asked and not counts.captions]
    if not mute:
        return
    names, example = [cells_of(config.plan).name(cell) for cell in mute], survey.rest.unread[mute[0]]
    raise ValueError(
        f"no training caption of the cells {names} can be a prompt: they are mostly words that the generator's text "
        f"encoder does not know, for example {example!r}, and would all draw the same; translate the captions"
    )


def _require_said(config: SynthesisConfig, found: Captions, metadata: tuple[str, ...]) -> list[str]:
    """What the generator cannot know of the plan, because its captions did not say it."""
    warnings, told = list[str](), f"metadata={list(metadata)} of the caption stage"
    if unsaid := sorted({name for name in _attributes(config.plan) if name.removesuffix("_band") not in metadata}):
        warnings.append(
            f"the plan is over {', '.join(unsaid)}, which the generator's captions do not say by themselves ({told}): "
            "its images may not differ by it"
        )
    if config.prompts == "captions":
        return warnings
    if not metadata or found.unsaid == found.rows:
        raise ValueError(
            f"prompts=attributes: the generator learned from other captions: none of {found.rows} begins with its "
            f"row's metadata ({told}); take prompts=captions, or caption with metadata and train on that"
        )
    if found.unsaid:
        warnings.append(
            f"prompts=attributes: {found.unsaid} of {found.rows} captions that the generator learned from do not begin "
            f"with their row's metadata ({told})"
        )
    return warnings


def _attributes(plan: Plan) -> list[str]:
    """That a plan tells cells apart by."""
    return [name for cell in plan.cells for name in cell.where] if isinstance(plan, Exact) else [*plan.over]


def _estimated(plan: Plan, found: Captions) -> list[str]:
    if "skin_tone" not in _attributes(plan) or not found.estimated:
        return []
    return [
        f"the plan is over skin_tone, which was estimated from images for {found.estimated} of {found.rows} training "
        "rows and is often wrong: see docs/skin-tone.md; images drawn from their captions say so in skin_tone_source"
    ]


def _left_out(cells: Cells, found: Captions) -> list[str]:
    warnings = []
    if found.homeless and isinstance(cells, Over):
        unknown = " or ".join(name for name in cells.attributes if name in cells.known)
        warnings.append(f"{found.homeless} of {found.rows} training rows have no known {unknown}: they are no prompts")
    if found.left_out:
        warnings.append(f"{found.left_out} captions that are mostly unknown words are no prompts")
    return warnings
