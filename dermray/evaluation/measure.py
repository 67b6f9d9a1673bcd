"""What an evaluation measures: a judge of its own, distances between its features, diversity, pictures."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from dermray.datasets.pixels import pixels
from dermray.evaluation import plots
from dermray.evaluation.distribution import compare
from dermray.evaluation.diversity import ms_ssim
from dermray.evaluation.extractor import (
    MISSING,
    PHANTOM_HEADS,
    Extractor,
    Labelled,
    attribute_accuracy,
    draw_labelled,
    features,
    fit,
    predict,
)
from dermray.evaluation.settings import EvaluationConfig
from dermray.manifest import Result
from dermray.picked import pick
from dermray.records import COLOURS, SKIN_TONES
from dermray.row_files import RowFiles

LABEL_HEADS = {"malignant": 2}
COLUMNS = ["malignant", "skin_tone", "width"]
TRUTH_COLUMNS = ["true_asymmetry", "true_border_irregular", "true_colours"]
SAID_COLUMNS = ["said_asymmetry", "said_border_irregular", "said_colours", "said_skin_tone"]


def measure(rows: Result, synthetic: Result, config: EvaluationConfig) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Numbers, and pictures by file name.

    Raises:
        ValueError: no usable row of one kind.
    """
    torch.set_num_threads(max(1, int(config.cpus)))
    drawn = _pick(synthetic.row_files(), pc.field("status") == "ok", SAID_COLUMNS, config)
    size = min(drawn["width"].to_pylist())  # where there are several, all are compared at one
    fake = _images(drawn, size)
    usable = (pc.field("status") == "ok") & (pc.field("origin") == "real")
    source = rows.row_files()
    held_out = _pick(source, usable & (pc.field("split") != "train"), TRUTH_COLUMNS, config)
    real = _images(held_out, size)

    phantoms = held_out["true_asymmetry"].null_count == 0
    metrics: dict[str, Any] = {"images": {"real": len(real), "synthetic": len(fake)}, "image_size": size}
    if phantoms:
        judge = fit(
            draw_labelled(2_000_003 + config.seed, config.judge_phantoms, size),
            PHANTOM_HEADS,
            config.judge_steps,
            config.seed,
        )
        metrics |= _attributes(judge, real, held_out, fake, drawn)
    else:
        training = _pick(source, usable & (pc.field("split") == "train"), [], config)
        judge = fit(
            Labelled(_images(training, size), _label_targets(training)), LABEL_HEADS, config.judge_steps, config.seed
        )
        metrics |= _labels(judge, real, held_out, fake, drawn)
    seen_real, seen_fake = features(judge, real), features(judge, fake)
    metrics["distances"] = compare(seen_real, seen_fake, config.seed).as_dict()
    metrics["diversity"] = {
        "real": ms_ssim(real, _classes(held_out), config.pairs, config.seed),
        "synthetic": ms_ssim(fake, _classes(drawn), config.pairs, config.seed),
    }
    return metrics, {
        "samples.png": _sample_grid(real, held_out, fake, drawn),
        "pca.png": plots.pca(seen_real, seen_fake),
    }


def _pick(source: RowFiles, where: Any, columns: list[str], config: EvaluationConfig) -> pa.Table:
    table = pick(source, COLUMNS + columns, where, config.max_images)
    if len(table) == 0:
        raise ValueError(f"{source}: no usable row to evaluate; look at the reasons in its manifest")
    return table


def _images(table: pa.Table, size: int) -> Tensor:
    return torch.from_numpy(pixels(table, size))


def _attributes(judge: Extractor, real: Tensor, held_out: pa.Table, fake: Tensor, drawn: pa.Table) -> dict[str, Any]:
    """What was asked for, read back; and how well the judge reads real phantoms, whose truth is known."""
    truth = _targets(held_out, "true")
    majority = torch.stack([truth[:, i].mode().values for i in range(truth.shape[1])]).expand_as(truth)
    return {
        "judge": "attributes of fresh phantoms",
        "judge_accuracy": attribute_accuracy(PHANTOM_HEADS, predict(judge, real), truth),
        "majority_guess": attribute_accuracy(PHANTOM_HEADS, majority, truth),
        "attribute_accuracy": attribute_accuracy(PHANTOM_HEADS, predict(judge, fake), _targets(drawn, "said")),
    }


def _targets(table: pa.Table, source: str) -> Tensor:
    """(N, heads) in the order of PHANTOM_HEADS, from the columns `true_*` or `said_*`."""
    names = (f"{source}_asymmetry", f"{source}_border_irregular", f"{source}_colours", "skin_tone")
    columns = [table[name].to_pylist() for name in names]
    return torch.tensor(
        [
            [
                MISSING if a is None else int(a),
                MISSING if b is None else int(b),
                MISSING if t is None else SKIN_TONES.index(t),
                *(MISSING if not c else int(name in c) for name in COLOURS),
            ]
            for a, b, c, t in zip(*columns, strict=True)
        ]
    )


def _label_targets(table: pa.Table) -> Tensor:
    return torch.tensor([[MISSING if label is None else int(label)] for label in table["malignant"].to_pylist()])


def _labels(judge: Extractor, real: Tensor, held_out: pa.Table, fake: Tensor, drawn: pa.Table) -> dict[str, Any]:
    """Photographs have no drawn truth: the label alone is read back."""
    return {
        "judge": "malignant or benign, learned from the real train split",
        "judge_accuracy": attribute_accuracy(LABEL_HEADS, predict(judge, real), _label_targets(held_out)),
        "attribute_accuracy": attribute_accuracy(LABEL_HEADS, predict(judge, fake), _label_targets(drawn)),
    }


def _classes(table: pa.Table) -> list[str]:
    return [str(label) for label in table["malignant"].to_pylist()]


def _sample_grid(real: Tensor, held_out: pa.Table, fake: Tensor, drawn: pa.Table) -> bytes:
    """Two rows for each cell that was drawn: real above synthetic."""
    rows = []
    real_cells, fake_cells = _cells(held_out), _cells(drawn)
    for cell in sorted(set(fake_cells)):
        for name, images, cells in (("real", real, real_cells), ("synthetic", fake, fake_cells)):
            chosen = [i for i, c in enumerate(cells) if c == cell]
            if chosen:
                rows.append((f"{cell}\n{name}", images[chosen]))
    return plots.grid(rows)


def _cells(table: pa.Table) -> list[str]:
    labels = {True: "malignant", False: "benign", None: "unknown"}
    pairs = zip(table["malignant"].to_pylist(), table["skin_tone"].to_pylist(), strict=True)
    return [f"{labels[label]}, {'tone ' + tone if tone else 'tone unknown'}" for label, tone in pairs]
