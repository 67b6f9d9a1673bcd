"""What a paper's Table 1 says of a set of images: one line for each source, each split of it, and all together."""

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from dermray.datasets.leaks import Keys, distinct, distinct_by_split
from dermray.describe.counts import MISSABLE, SIDES, Counts, quantile
from dermray.records import ALLOWED, ENTITIES, SKIN_TONES, SPLITS

ALL, UNKNOWN = "all", "unknown"
TOP = 20  # words of a diagnosis or a site that are listed
LABELS: dict[bool | None, str] = {False: "benign", True: "malignant", None: UNKNOWN}
SIDE_NAMES = [f"<{SIDES[0]}", *(f"{a}-{b - 1}" for a, b in pairwise(SIDES)), f">={SIDES[-1]}"]
IDENTITIES = {"patients": "patient_id", "lesions": "lesion_id", "leak_groups": "leak_group"}
Numbers = dict[str, int]


@dataclass(frozen=True)
class Line:
    """Usable images of one source and split, or of all; every dictionary gives images by what they are."""

    source: str
    split: str
    images: int
    patients: int  # different ones that are known, as the two below
    lesions: int
    leak_groups: int
    modality: Numbers
    label: Numbers
    entities: Numbers
    diagnoses: Numbers  # the source's own words, the most frequent
    skin_tone: Numbers
    skin_tone_source: Numbers
    label_by_tone: dict[str, Numbers]
    fitzpatrick: Numbers
    age: dict[str, float | int | None]  # years: quartile_1, median, quartile_3; unknown: images
    sex: Numbers
    sites: Numbers  # the most frequent
    shorter_side: Numbers  # px
    licences: Numbers
    modifications: Numbers  # what the decoder changed
    missing: Numbers  # images without a value, by column

    @property
    def kinds(self) -> str:
        """C for clinical, D for dermoscopic, as paper 002's Table 1."""
        found = [name[0].upper() for name in sorted(ALLOWED["modality"]) if self.modality.get(name)]
        return "+".join(found) + ("?" if self.modality.get(UNKNOWN) else "")

    def flat(self) -> dict[str, Any]:
        """For a table of values: a column for each number."""
        told = {"source": self.source, "split": self.split, "images": self.images}
        for name in ("modality", "label", "skin_tone", "sex", "fitzpatrick", "shorter_side", "missing"):
            told |= {f"{name} {value}": number for value, number in getattr(self, name).items()}
        told |= {f"entity {value}": self.entities.get(value, 0) for value in (*ENTITIES, "other", UNKNOWN)}
        told |= {f"age {name}": value for name, value in self.age.items()}
        told |= {"skin_tone estimated": self.skin_tone_source.get("estimated", 0)}
        told |= {name: getattr(self, name) for name in IDENTITIES}
        return told | {"licences": "; ".join(self.licences)}


class Distinct:
    """How many patients, lesions and leak groups there are, by source and split."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str, str | None], int] = {}

    def add(self, keys: Keys) -> None:
        """Of one column."""
        for source, values in [(ALL, keys.all()), *keys.by_source.items()]:
            self.found[keys.column, source, ALL] = distinct(values)
            for split, number in distinct_by_split(values).items():
                self.found[keys.column, source, split] = number

    def of(self, source: str, split: str | None) -> Numbers:
        """Of one source or ALL, and one split or ALL."""
        return {name: self.found.get((column, source, split), 0) for name, column in IDENTITIES.items()}


@dataclass(frozen=True)
class Lines:
    """Of every source and split."""

    total: Line
    sources: list[Line]
    splits: list[Line]  # over all sources
    parts: list[Line]  # of each source and split

    def as_json(self) -> dict[str, Any]:
        """For other programs."""
        told: dict[str, Any] = {"total": asdict(self.total)}
        return told | {name: [asdict(line) for line in getattr(self, name)] for name in ("sources", "splits", "parts")}


def lines(counts: Counts, known: Distinct) -> Lines:
    """Of sources whose rows are all rejected too."""
    splits = [split for split in (*SPLITS, None) if any(found == split for _, found, *_ in counts.cube)]
    of_sources = {source: counts.of(source=source) for source in counts.sources}
    return Lines(
        line(ALL, ALL, counts, known.of(ALL, ALL)),
        [line(source, ALL, part, known.of(source, ALL)) for source, part in of_sources.items()],
        [line(ALL, split or UNKNOWN, counts.of(split=split), known.of(ALL, split)) for split in splits],
        [
            line(source, split or UNKNOWN, part.of(split=split), known.of(source, split))
            for source, part in of_sources.items()
            for split in splits
        ],
    )


def line(source: str, split: str, counts: Counts, known: Numbers) -> Line:
    """What counts add up to."""
    by_label = counts.by("malignant", "skin_tone")
    ages = counts.by("age")
    tones = (*SKIN_TONES, None)
    missing = Counter[str]()
    for (_, _, name), number in counts.missing.items():
        missing[name] += number
    sides = counts.by("side")
    return Line(
        source=source,
        split=split,
        images=counts.cube.total(),
        **known,
        modality=_fixed(counts.by("modality"), ALLOWED["modality"]),
        label=_labels(counts.by("malignant")),
        entities=_ranked(counts.by("entity")),
        diagnoses=_ranked(counts.by("diagnosis"), TOP),
        skin_tone=_fixed(counts.by("skin_tone"), SKIN_TONES),
        skin_tone_source=_ranked(counts.by("skin_tone_source"), unknown=False),
        label_by_tone={
            name: {tone or UNKNOWN: by_label[value, tone] for tone in tones} for value, name in LABELS.items()
        },
        fitzpatrick=_fixed(counts.by("fitzpatrick"), range(1, 7)),
        age={
            "quartile_1": quantile(ages, 0.25),
            "median": quantile(ages, 0.5),
            "quartile_3": quantile(ages, 0.75),
            UNKNOWN: ages[None],
        },
        sex=_fixed(counts.by("sex"), ALLOWED["sex"]),
        sites=_ranked(counts.by("site"), TOP),
        shorter_side={name: sides[place] for place, name in enumerate(SIDE_NAMES)} | _unknown(sides),
        licences=_ranked(counts.by("licence")),
        modifications=_ranked(counts.by("modification"), unknown=False),
        missing={name: missing[name] for name in MISSABLE},
    )


def _labels(found: Counter[Any]) -> Numbers:
    return {name: found[value] for value, name in LABELS.items()}


def _fixed(found: Counter[Any], values: Any) -> Numbers:
    """In the order of all values that there may be, zeros among them."""
    return {str(value): found[value] for value in values} | {UNKNOWN: found[None]}


def _unknown(found: Counter[Any]) -> Numbers:
    return {UNKNOWN: found[None]} if found[None] else {}


def _ranked(found: Counter[Any], most: int | None = None, unknown: bool = True) -> Numbers:
    """The most frequent first, then in the order of the alphabet; what is unknown last."""
    known = sorted(((v, n) for v, n in found.items() if v is not None), key=lambda item: (-item[1], str(item[0])))
    return {str(value): number for value, number in known[:most]} | (_unknown(found) if unknown else {})
