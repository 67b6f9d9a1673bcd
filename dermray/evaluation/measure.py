"""What an evaluation measures, in tasks that each return numbers and pictures by file name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dermray import storage
from dermray.columns import batches
from dermray.datasets.leaks import require_whole_groups
from dermray.evaluation import judged, pairwise, plots
from dermray.evaluation.agreement import clip_agreement
from dermray.evaluation.distribution import compare
from dermray.evaluation.diversity import ms_ssim
from dermray.evaluation.extraction import Networks, where_real
from dermray.evaluation.groups import names
from dermray.evaluation.inception_score import inception_score
from dermray.evaluation.pairwise import ID_COLUMNS
from dermray.evaluation.samples import (
    ASKED,
    OK,
    Sample,
    picked,
    real_sample,
    require_real,
    sample_grid,
    synthetic_sample,
    training_sample,
)
from dermray.evaluation.settings import EvaluationConfig, Pairing
from dermray.evaluation.stored import Stored
from dermray.manifest import Result
from dermray.records import count_rows

Found = tuple[dict[str, Any], dict[str, bytes]]  # numbers, and pictures by file name


@dataclass(frozen=True)
class Inputs:
    """What is compared."""

    rows: Result
    sources: Mapping[str, Result]  # generate results by name
    rows_at: str  # as the config gives it, for messages


def prepare(inputs: Inputs, judge: str, config: EvaluationConfig) -> int:
    """Check what can be checked by columns, and train the judge unless its file is there already.

    Returns:
        The side in px at which images are compared.

    Raises:
        ValueError: rows that leak, no usable row of a kind, or synthetic images that were made from other rows.
    """
    torch.set_num_threads(max(1, int(config.cpus)))
    require_whole_groups(inputs.rows)
    size = config.image_size or min(map(smallest, inputs.sources.values()))
    require_real(inputs.rows, config)
    for source in inputs.sources.values():
        drawn = picked(source.row_files(), OK, ASKED, config)
        pairwise.require_partners(drawn, inputs.rows.row_files(), config.pairing, inputs.rows_at)
    real = real_sample(inputs.rows, config, size)
    if storage.exists(judge):
        return size
    if _phantoms(real):
        judged.save(judged.train_on_phantoms(config, size), judge)
    else:
        training = training_sample(inputs.rows, config, size)
        judged.save(judged.train_on_labels(training.images, training.table, config), judge)
    return size


def _phantoms(real: Sample) -> bool:
    return bool(real.table["true_asymmetry"].null_count == 0)


def smallest(synthetic: Result) -> int:
    """Shortest side in px of its usable images.

    Raises:
        ValueError: none.
    """
    sides = [
        min(batch[name].to_numpy(zero_copy_only=False).min() for name in ("width", "height"))
        for batch in batches(synthetic.row_files(), ["width", "height", "status"], OK)
        if batch.num_rows
    ]
    if not sides:
        raise ValueError(f"{synthetic.uri}: no usable row to evaluate; look at the reasons in its manifest")
    return int(min(sides))


def describe(networks: Networks) -> list[dict[str, Any]]:
    """Name, hash and number of features of each extractor: they open."""
    opened = networks.open("cpu")
    return [{"name": network.name, "hash": network.hash, "width": network.width} for network in opened]


def judge_real(inputs: Inputs, judge: str, size: int, config: EvaluationConfig) -> Found:
    """How well the judge reads real images, and how diverse these are.

    A judge of phantoms has seen none of them. One that learned labels from the train split is asked about others, or
    about nothing where there are none.
    """
    torch.set_num_threads(max(1, int(config.cpus)))
    real = real_sample(inputs.rows, config, size)
    asked: Sample | None = real
    if not _phantoms(real) and config.real != "held_out":
        there = count_rows(inputs.rows.row_files(), where_real("held_out"))
        asked = real_sample(inputs.rows, config, size, where_real("held_out")) if there else None
    quality = judged.quality(judged.load(judge), (asked.images, asked.table) if asked else None)
    return quality | {"real_diversity": _diversity(real, config)}, {}


def judge_source(inputs: Inputs, name: str, number: int, judge: str, size: int, config: EvaluationConfig) -> Found:
    """What is measured on the sample of one source: attributes, text agreement, pairs, diversity."""
    torch.set_num_threads(max(1, int(config.cpus)))
    fake, real = synthetic_sample(inputs.sources[name], config, size), real_sample(inputs.rows, config, size)
    found = {
        "attribute_accuracy": judged.read_back(judged.load(judge), fake.images, fake.table),
        "clip": clip_agreement(fake, config),
        "diversity": _diversity(fake, config),
        "pairs": {rule: _pairs(rule, fake, real, inputs.rows, config) for rule in config.pairing},
        "sample": len(fake),
    }
    return found, {f"samples-{number}.png": sample_grid(real, fake)}


def _pairs(rule: Pairing, fake: Sample, real: Sample, rows: Result, config: EvaluationConfig) -> dict[str, Any]:
    if rule in ID_COLUMNS:
        have, partners = pairwise.named_partners(fake, rows.row_files(), rule)
    else:
        have, partners = pairwise.random_partners(fake, real, config.seed)
    without = len(fake) - len(have)
    if not len(have):
        return {"not_computed": f"none of {len(fake)} images has a partner by this rule", "without_partner": without}
    found = pairwise.scores(fake.images[have], partners)
    return {"groups": pairwise.summaries(found, fake.table.take(have), config.groups), "without_partner": without}


def _diversity(sample: Sample, config: EvaluationConfig) -> dict[str, Any]:
    classes = [name or "unknown" for name in names(sample.table, config.diversity_within)]
    try:
        return ms_ssim(sample.images, classes, config.pairs, config.seed)
    except ValueError as few:
        return {"not_computed": str(few)}


def distances(real: Stored, synthetic: Stored, label: str, suffix: str, config: EvaluationConfig) -> Found:
    """In one extractor's features: distances and Inception scores, overall and by group; PCA and densities.

    Args:
        label: of the extractor, for the plots. suffix: of their files.
    """
    torch.set_num_threads(max(1, int(config.cpus)))
    rows = [_row(None, None, real, synthetic, config)]
    for attribute in config.groups:
        for group in sorted({*real.groups(attribute), *synthetic.groups(attribute)}):
            sides = real.of(attribute, group), synthetic.of(attribute, group)
            rows.append(_row(attribute, group, *sides, config))
    return {"distances": rows}, _plots(real, synthetic, label, suffix, config.plot_images)


def _row(
    attribute: str | None, group: str | None, real: Stored, synthetic: Stored, config: EvaluationConfig
) -> dict[str, Any]:
    scores = [inception_score(images) for images in (synthetic, real)]
    return {
        "attribute": attribute,
        "group": group,
        **compare(real, synthetic, config.min_images, config.max_images).as_dict(),
        "inception_score": scores[0].as_dict() if scores[0] else None,
        "real_inception_score": scores[1].as_dict() if scores[1] else None,
    }


def _plots(real: Stored, synthetic: Stored, label: str, suffix: str, most: int) -> dict[str, bytes]:
    sets = {name: _first(images, most) for name, images in (("real", real), ("synthetic", synthetic))}
    if min(map(len, sets.values())) < 3:
        return {}
    return {
        f"pca-{suffix}.png": plots.pca(sets, label),
        f"density-{suffix}.png": plots.density(sets, label),
    }


def _first(images: Stored, most: int) -> np.ndarray:
    count = images.count()
    return images.least(min(most, count)) if count else np.empty((0, 1))
