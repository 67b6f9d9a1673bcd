"""Leak groups, repeats and splits over all rows' keys, in arrays: some hundred bytes a row, and no image."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from dermray.config import Config, ConfigError
from dermray.datasets.assignment import NAME, Assignment
from dermray.datasets.cells import plain
from dermray.datasets.earlier_splits import KEYS, EarlierSplits, places
from dermray.datasets.embedding_settings import Alike
from dermray.datasets.known_duplicates import KnownDuplicates
from dermray.datasets.known_duplicates import joined as joined_by_lists
from dermray.datasets.labels.words import require_match
from dermray.datasets.near_duplicates import fingerprints, near_duplicates
from dermray.datasets.repeats import KNOWN, reject_repeats
from dermray.datasets.splits import (
    NONE,
    TEST,
    UNKNOWN,
    Fractions,
    Strata,
    check_leaks,
    leak_groups,
    official_splits,
    split_around,
)
from dermray.datasets.topping_up import topped_up
from dermray.exactly_once import hashes, joined
from dermray.records import SPLITS, kind
from dermray.result_fields import ResultOf

KEY_COLUMNS = [
    "sample_id", "source", "source_id", "patient_id", "lesion_id", "diagnosis", "malignant", "entity", "split",
    "status", "reason", "hash", "thumbnail", "skin_tone", "sex", "site", "modality",
]  # fmt: skip

NAMED = list(dict.fromkeys(sum(KEYS, ())))
LABELS, ATTRIBUTES = {"malignant", "entity", "diagnosis"}, {"skin_tone", "sex", "site", "modality", "source"}


class Grouping(Config):
    """How rows are split, and which are left out."""

    fractions: Fractions = Fractions()
    split_by: Literal["group", "image"] = Field(
        "group",
        description="group: images of one patient or lesion, and near duplicates, stay in one split; image: each image "
        "falls by itself, as in papers that split at random, so that splits leak and scores are inflated",
    )
    stratify: list[str] = Field(
        ["malignant", "skin_tone"],
        description="columns whose values the splits share evenly: malignant, entity or diagnosis first, of which each "
        "split gets every one; skin_tone, sex, site, modality or source after it",
    )
    drop_classes: list[str] = Field([], description="values of the first of `stratify` whose rows are rejected")
    seed: int = Field(0, ge=0)
    previous: Annotated[str, ResultOf("ingest")] | None = Field(
        None, description="an earlier ingest result: its images stay in their splits, and new ones of their groups join"
    )

    known_duplicates: list[KnownDuplicates] = Field(
        [], description="lists of images that belong together: tables of which a line names two or more, or pairs"
    )

    @field_validator("stratify", "known_duplicates", mode="before")
    @classmethod
    def _one_is_a_list(cls, given: Any) -> Any:
        return [given] if isinstance(given, str) else given

    @field_validator("stratify")
    @classmethod
    def _label_first(cls, given: list[str]) -> list[str]:
        label, others = given[:1], given[1:]
        if not set(label) <= LABELS or not label or len(set(given)) < len(given) or not set(others) <= ATTRIBUTES:
            raise ValueError(
                f"got {given}: expected one of {sorted(LABELS)}, and after it any of {sorted(ATTRIBUTES)}, each once"
            )
        return given

    @model_validator(mode="after")
    def _nothing_joins_images_that_fall_alone(self) -> Self:
        if self.split_by == "image" and self.previous is not None:
            raise ConfigError(
                f"previous={self.previous}: new images join the splits of their leak groups, and split_by=image knows "
                "none; leave one of the two out"
            )
        return self


def assigned(
    table: pa.Table, config: Grouping, earlier: EarlierSplits | None = None, alike: Alike | None = None
) -> Assignment:
    """A group and a split for every usable row, and a reason for those that cannot stay.

    Args:
        table: KEY_COLUMNS of all rows. earlier: of the result that is `previous`. alike: found by embedding.

    Raises:
        ValueError: names that occur twice, no usable row, or what the config cannot be applied to.
    """
    table = table.sort_by([("source", "ascending"), ("source_id", "ascending")]).combine_chunks()
    _require_unique_names(table)
    reasons = _Reasons(table)
    for reason, rows in _repeats(table):
        reasons.add(reason, rows)
    labels, *others = (_words(table[name]) for name in config.stratify)
    for name in _dropped(labels, config):
        left_out = reasons.usable() & (labels == name)
        reasons.add(f"class {name} left out by drop_classes", np.flatnonzero(left_out))
    usable = np.flatnonzero(reasons.usable())
    if not len(usable):
        raise ValueError(f"none of {len(table)} rows is usable: {reasons.commonest(3)}")
    known = joined_by_lists(config.known_duplicates, table)
    near = near_duplicates(*fingerprints(table.select(["hash", "thumbnail"]).take(usable)))
    groups = _groups(table, usable, near.links, np.concatenate([known.links, _rows(table, alike)]))
    strata = Strata.of(labels, *others).take(usable)
    given = places(table["split"])[usable]
    if earlier is None:
        together = groups if config.split_by == "group" else np.arange(len(usable))
        official = official_splits(given, together)
        splits = split_around(official, strata, together, config.fractions, config.seed)
    else:
        before = earlier.of(table.select(NAMED).take(usable))
        given = np.maximum(given, before)  # val cut out of official train is val; a test set published since is test
        official = official_splits(given, groups)
        splits = topped_up(official, strata, groups, config.fractions, config.seed)
    which = "official" if earlier is None else "official or earlier"
    for mine, others_split in _lower(given, official):
        reason = f"{mine} row whose patient, lesion or near duplicate is in the {which} {others_split} split"
        reasons.add(reason, usable[(given == SPLITS.index(mine)) & (official == SPLITS.index(others_split))])
    stays = reasons.usable()[usable]
    facts = {"known_duplicates": known.facts, "near_duplicates": alike.facts if alike else None}
    if config.split_by == "group":
        check_leaks(_pairs(groups[stays], splits[stays]))
    else:
        facts["split_by_image"] = _leaking(groups[stays], splits[stays], given[stays])
    splits = np.where(stays, splits, NONE)
    return Assignment.of(table, usable, groups, splits, reasons.places, reasons.why, near.uncompared, facts)


class _Reasons:
    """Why rows are rejected that were usable: a place in `why` each."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.ok = np.asarray(pc.equal(table["status"], "ok"))
        self.places = np.full(len(table), NONE, np.int16)
        self.why: list[str] = []

    def usable(self) -> np.ndarray:
        return self.ok & (self.places == NONE)

    def add(self, reason: str, rows: np.ndarray) -> None:
        if len(rows):
            if reason not in self.why:
                self.why.append(reason)
            self.places[rows] = self.why.index(reason)

    def commonest(self, most: int) -> list[tuple[str, int]]:
        before = self.table["reason"].filter(pa.array(~self.ok)).value_counts().to_pylist()
        counts = Counter({self.why[place]: int((self.places == place).sum()) for place in range(len(self.why))})
        for found in before:
            counts[kind(found["values"] or "")] += found["counts"]
        return counts.most_common(most)


def _require_unique_names(table: pa.Table) -> None:
    names = hashes(joined(table, NAME))
    values, counts = np.unique(names, return_counts=True)
    if repeated := int((counts > 1).sum()):
        first = int(np.flatnonzero(names == values[counts > 1][0])[0])
        example = tuple(table[name][first].as_py() for name in NAME)
        raise ValueError(
            f"{repeated} source ids occur more than once, for example {example}: every image needs a name "
            "of its own within its source; remove the repeated lines or give each source another name"
        )


def _repeats(table: pa.Table) -> list[tuple[str, np.ndarray]]:
    """Reasons and rows of images that came several times; Python sees these alone."""
    usable = np.flatnonzero(np.asarray(pc.equal(table["status"], "ok")))
    samples = _codes(table["sample_id"])[usable]
    copies = usable[np.bincount(samples, minlength=1)[samples] > 1]
    rows = table.select(["sample_id", "source", "split", "status", "reason", *KNOWN]).take(copies).to_pylist()
    reject_repeats(rows)
    by_reason: dict[str, list[int]] = {}
    for place, row in zip(copies.tolist(), rows, strict=True):
        if row["status"] != "ok":
            by_reason.setdefault(row["reason"], []).append(place)
    return [(reason, np.array(places)) for reason, places in by_reason.items()]


def _words(column: pa.ChunkedArray) -> np.ndarray:
    """The class of each row in plain words, UNKNOWN where it is null."""
    if pa.types.is_boolean(column.type):
        column = pc.if_else(column, "malignant", "benign")
    encoded = column.combine_chunks().dictionary_encode()
    words = np.array([*(plain(str(word)) for word in encoded.dictionary.to_pylist()), UNKNOWN])
    return words[np.asarray(encoded.indices.fill_null(len(words) - 1))]


def _dropped(labels: np.ndarray, config: Grouping) -> list[str]:
    """The classes to leave out. ValueError where one occurs nowhere."""
    if not config.drop_classes:
        return []
    require_match(config.drop_classes, np.unique(labels).tolist(), f"drop_classes of {config.stratify[0]}")
    return sorted(set(map(plain, config.drop_classes)))


def _groups(table: pa.Table, usable: np.ndarray, links: np.ndarray, of_rows: np.ndarray) -> np.ndarray:
    """Leak groups of the usable rows. The others link too: a rejected copy tells whose image it is.

    Args:
        links: places in `usable`. of_rows: rows of the table that belong together as well.
    """
    order = np.concatenate([usable, np.setdiff1d(np.arange(len(table)), usable)])
    shows = np.asarray(pc.is_valid(table["thumbnail"]))  # bytes link where they show something: empty files are alike
    samples = np.where(shows, _codes(table["sample_id"]), NONE)
    keys = [samples[order], *(_codes(table[name])[order] for name in ("patient_id", "lesion_id"))]
    return leak_groups(keys, np.concatenate([links, np.argsort(order)[of_rows]]))[: len(usable)]


def _rows(table: pa.Table, alike: Alike | None) -> np.ndarray:
    """(M, 2) rows of the table that were found alike."""
    if alike is None:
        return np.empty((0, 2), np.int64)
    names = hashes(joined(table, NAME))
    order = np.argsort(names)
    return order[np.searchsorted(names[order], alike.pairs)]


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """A number for each value, NONE for null."""
    encoded = column.combine_chunks().dictionary_encode()
    return np.asarray(encoded.indices.fill_null(NONE))


def _lower(given: np.ndarray, official: np.ndarray) -> list[tuple[str, str]]:
    """A row's own split and its group's, wherever these differ: of a group that lies in several the lower's rows go."""
    different = (given != NONE) & (given != official)
    pairs = np.unique(np.stack([given[different], official[different]], 1), axis=0)
    return [(SPLITS[mine], SPLITS[others]) for mine, others in pairs.tolist()]


def _leaking(groups: np.ndarray, splits: np.ndarray, given: np.ndarray) -> dict[str, Any]:
    """What splitting by image did: groups in several splits, their images, and whether a publisher chose every test
    image.

    Args:
        groups, splits, given: (N,) of the rows that stay; `given` as their sources say.
    """
    names, in_splits = np.unique(np.unique(np.stack([groups, splits], 1), axis=0)[:, 0], return_counts=True)
    crossing = names[in_splits > 1]
    return {
        "leaking_groups": len(crossing),
        "images": int(np.isin(groups, crossing).sum()),
        "published_test_split": bool((given[splits == TEST] == TEST).all()),
    }


def _pairs(groups: np.ndarray, splits: np.ndarray) -> Sequence[tuple[str, str]]:
    """Each group with each split in which it lies, once."""
    pairs = np.unique(np.stack([groups, splits], 1), axis=0)
    return [(f"g{group}", SPLITS[place]) for group, place in pairs.tolist()]
