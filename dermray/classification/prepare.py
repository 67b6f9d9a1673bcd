"""Before the first trial: which images there are, which are chosen, and what may not be. Reads no pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray import storage
from dermray.classification.arms import Arm, first_real, first_synthetic, needed, require_enough
from dermray.classification.overlap import IDS, counted, near_in, shared
from dermray.classification.pools import Pools, read_pool
from dermray.classification.sources import Source
from dermray.classification.targets import Target
from dermray.classification.test_sets import (
    OWN,
    External,
    read_test_set,
    refuse_seen,
    require_classes,
    without_shared,
    without_tested,
)
from dermray.datasets.leaks import require_whole_groups
from dermray.manifest import Result
from dermray.picked import FILE, pick


@dataclass(frozen=True)
class Wanted:
    """What a sweep asks for."""

    column: str
    classes: tuple[str, ...]
    arms: Sequence[Arm]
    real_images: Sequence[int]
    seeds: Sequence[int]
    balanced: bool
    most_test: int
    most_validation: int


@dataclass(frozen=True)
class Prints:
    """Directories of fingerprints, where there is something to compare."""

    tests: dict[str, str] = field(default_factory=dict)  # by test set
    rows: str | None = None  # of the training and validation images
    generators: dict[str, str] = field(default_factory=dict)  # of what they saw, by source
    drawn: dict[str, str] = field(default_factory=dict)  # of images that others drew, by source


@dataclass(frozen=True)
class Prepared:
    """What is known before the first trial."""

    target: Target
    pools: Pools
    images: pa.Table  # sample_id and where it lies, of every image that a trial reads
    used: int  # of all images that could be used
    validation: int  # images
    unlabelled: int
    tests: dict[str, dict[str, Any]]  # by name: images, unlabelled, removed (numbers by what is shared)
    # by source: numbers of its images that show test images, by what they share
    tested: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def removed(self) -> int:
        """Test images that training shares."""
        return sum(told["removed"]["all"] for told in self.tests.values())


def prepare(
    directory: str,
    rows: Result,
    sources: Sequence[Source],
    externals: Sequence[tuple[External, Result]],
    wanted: Wanted,
    prints: Prints,
) -> Prepared:
    """Read, check and choose; the pools are written below `directory`. To be run in a task.

    Raises:
        ValueError: labels that cannot be learned, rows that leak, too few images for an arm, or a test set that
            training or a generator saw. Of rows that were split by image the own test set may have been seen: how much
            of it is told.
    """
    require_whole_groups(rows)
    target = _target(rows, wanted)
    real = (pc.field("status") == "ok") & (pc.field("origin") == "real")
    read = {
        "train": read_pool(rows, real & (pc.field("split") == "train"), target),
        "val": read_pool(rows, real & (pc.field("split") == "val"), target, wanted.most_validation),
        "test": read_pool(rows, real & (pc.field("split") == "test"), target, wanted.most_test),
    }
    (train, _), (validation, _), (own, own_unlabelled) = read.values()
    require_classes("train rows", train, target)
    drawn = {source.name: read_pool(source.result, pc.field("status") == "ok", target) for source in sources}
    for name, (table, _) in drawn.items():
        require_classes(f"synthetic {name}".strip(), table, target)  # before anything is compared
    tests, told = dict[str, pa.Table](), dict[str, dict[str, Any]]()
    if len(own) or not externals:
        require_classes("test rows", own, target)
        tests[OWN], told[OWN] = own, _told(own, own_unlabelled)
    for given, result in externals:
        table, unlabelled = read_test_set(given, result, target, wanted.most_test)
        near = near_in(prints.tests[given.name], [prints.rows]) if prints.rows else None
        tests[given.name], removed = without_shared(given.name, table, [train, validation], near, target)
        told[given.name] = _told(tests[given.name], unlabelled, removed)
    for name, by_source in _seen(tests, sources, prints).items():
        if name == OWN and rows.manifest.leaking_groups:  # as papers split that drew with a generator of all images
            told[name]["seen_by_generator"] = {source: found["all"] for source, found in by_source.items()}
        else:
            refuse_seen(name, len(tests[name]), by_source)
    made, tested = dict[str, pa.Table](), dict[str, dict[str, int]]()
    for name, (table, _) in drawn.items():
        near = near_in(prints.drawn[name], [*prints.tests.values()]) if name in prints.drawn else None
        made[name], tested[name] = without_tested(name, table, [*tests.values()], near, target)
    chosen = _chosen(train, made, wanted)
    pools = Pools(
        storage.join(directory, "pools"),
        {name: storage.join(directory, "pools", f"synthetic-{i}.parquet") for i, name in enumerate(drawn)},
        list(tests),
    )
    written = {pools.real: train, pools.validation: validation}
    written |= {pools.synthetic[name]: table for name, table in made.items()}
    written |= {pools.test(name): table for name, table in tests.items()}
    for file, table in written.items():
        Pools.write(table, file)
    places = pa.concat_tables([table.select(["sample_id", FILE]) for table in (*chosen, validation, *tests.values())])
    unlabelled = sum(number for _, number in (*read.values(), *drawn.values()))
    unlabelled += sum(each["unlabelled"] for name, each in told.items() if name != OWN)
    used = sum(map(len, written.values()))
    return Prepared(target, pools, places, used, len(validation), unlabelled, told, tested)


def _told(rows: pa.Table, unlabelled: int, removed: dict[str, int] | None = None) -> dict[str, Any]:
    return {"images": len(rows), "unlabelled": unlabelled, "removed": removed or {"all": 0}}


def _target(rows: Result, wanted: Wanted) -> Target:
    """The classes of another column than malignant are those of the real train split, where none are given."""
    target = Target.of(wanted.column, classes=wanted.classes or ("a", "b"))  # a wrong column is refused before reading
    if target.binary or wanted.classes:
        return target
    train = (pc.field("status") == "ok") & (pc.field("split") == "train") & (pc.field("origin") == "real")
    return Target.of(wanted.column, pick(rows.row_files(), [wanted.column], train)[wanted.column].to_pylist())


def _seen(
    tests: dict[str, pa.Table], sources: Sequence[Source], prints: Prints
) -> dict[str, dict[str, dict[str, int]]]:
    """How many images of each test set each generator saw, of those that saw other rows than the sweep's, whose own
    split keeps its test images from them. By what they share, as `counted` has it."""
    found: dict[str, dict[str, dict[str, int]]] = {name: {} for name in tests}
    for source in sources:
        if source.seen is None:
            continue
        usable = pc.field("status") == "ok"
        if source.saw:
            usable &= pc.field("split").isin(source.saw)
        seen = pick(source.seen.row_files(), [*IDS], usable)
        for name, table in tests.items():
            near = near_in(prints.tests[name], [prints.generators[source.name]])
            found[name][source.name] = counted(shared(table, seen, near))
    return found


def _chosen(train: pa.Table, drawn: dict[str, pa.Table], wanted: Wanted) -> list[pa.Table]:
    """The training images that any trial takes: every arm takes a beginning of one order, so the longest ones."""
    labels = {name: table["label"].to_numpy() for name, table in drawn.items()}
    real_labels, none = train["label"].to_numpy(), np.empty(0, np.int64)
    for arm in wanted.arms:
        for few in wanted.real_images:
            require_enough(arm, real_labels, labels.get(arm.source, none), few, wanted.balanced)
    most = max(wanted.real_images)
    real = max(needed(arm, most)[0] for arm in wanted.arms)
    taken = [(train, [first_real(real_labels, real, seed, wanted.balanced) for seed in wanted.seeds])]
    for name, table in drawn.items():
        many = max((needed(arm, most)[1] for arm in wanted.arms if arm.source == name), default=0)
        firsts = [first_synthetic(labels[name], many, seed, wanted.balanced) for seed in wanted.seeds]
        taken.append((table, firsts))
    return [table.take(pa.array(np.unique(np.concatenate(firsts)))) for table, firsts in taken]
