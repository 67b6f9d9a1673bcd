"""The judge of an evaluation: trained by it, kept as a file, and what it reads back from images."""

import io
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from dermray import storage
from dermray.evaluation.settings import EvaluationConfig
from dermray.features.judge import (
    MISSING,
    PHANTOM_HEADS,
    Judge,
    Labelled,
    attribute_accuracy,
    draw_labelled,
    fit,
    predict,
)
from dermray.records import COLOURS, SKIN_TONES

LABEL_HEADS = {"malignant": 2}
PHANTOMS = "attributes of fresh phantoms"
PHOTOGRAPHS = "malignant or benign, learned from the real train split and tried on the other splits"
NONE = "nothing: no row of the real train split has a label"


def train_on_phantoms(config: EvaluationConfig, size: int) -> Judge:
    """On images that no other model saw."""
    data = draw_labelled(2_000_003 + config.seed, config.judge_phantoms, size)
    return fit(data, PHANTOM_HEADS, config.judge_steps, config.seed)


def train_on_labels(images: Tensor, table: pa.Table, config: EvaluationConfig) -> Judge:
    """On photographs (N, 3, S, S) uint8 of the train split, which have no drawn truth: on their label alone. Where none
    has one the judge has no heads, and reads nothing.

    Raises:
        ValueError: none has one, and distances are wanted in the judge's features.
    """
    targets = label_targets(table)
    labelled = targets[:, 0] != MISSING
    if labelled.any():
        return fit(Labelled(images[labelled], targets[labelled]), LABEL_HEADS, config.judge_steps, config.seed)
    if any(extractor.kind == "judge" for extractor in config.extractors):
        raise ValueError(
            f"extractors: a judge learns malignant or benign, and none of {len(table)} rows of {config.rows}'s train "
            "split has a label; give other extractors, such as {kind: inception, weights: ...}"
        )
    return Judge({}).eval()


def save(judge: Judge, uri: str) -> None:
    """Whole, or not at all."""
    buffer = io.BytesIO()
    torch.save({"heads": judge.heads, "weights": judge.state_dict()}, buffer)
    storage.write_bytes(uri, buffer.getvalue())


def load(uri: str) -> Judge:
    """What `save` wrote."""
    saved = torch.load(io.BytesIO(storage.read_bytes(uri)), weights_only=True)
    judge = Judge(saved["heads"])
    judge.load_state_dict(saved["weights"])
    return judge.eval()


def quality(judge: Judge, unseen: tuple[Tensor, pa.Table] | None) -> dict[str, Any]:
    """How well it reads real images that it has not learned from and whose truth is known, and what guessing gives.

    Args:
        unseen: (N, 3, S, S) uint8 and their N rows; None where there are none: then nobody knows.
    """
    if not judge.heads:
        return {"judge": NONE, "judge_accuracy": {}, "majority_guess": {}}
    phantoms = judge.heads == PHANTOM_HEADS
    told = PHANTOMS if phantoms else PHOTOGRAPHS
    if unseen is None:
        return {"judge": told, "judge_accuracy": {}, "majority_guess": {}}
    images, table = unseen
    truth = phantom_targets(table, "true") if phantoms else label_targets(table)
    return {
        "judge": told,
        "judge_accuracy": attribute_accuracy(judge.heads, predict(judge, images), truth),
        "majority_guess": attribute_accuracy(judge.heads, _commonest(truth), truth),
    }


def _commonest(truth: Tensor) -> Tensor:
    """(N, heads): in each row the answer that is right most often."""
    known = (column[column != MISSING] for column in truth.T)
    answers = [int(column.mode().values) if len(column) else MISSING for column in known]
    return torch.tensor(answers).expand_as(truth)


def read_back(judge: Judge, fake: Tensor, drawn: pa.Table) -> dict[str, float]:
    """Share of synthetic images in which it finds what was asked for; of photographs the label alone."""
    if not judge.heads:
        return {}
    if judge.heads != PHANTOM_HEADS:
        return attribute_accuracy(LABEL_HEADS, predict(judge, fake), label_targets(drawn))
    return attribute_accuracy(PHANTOM_HEADS, predict(judge, fake), phantom_targets(drawn, "said"))


def phantom_targets(table: pa.Table, source: str) -> Tensor:
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


def label_targets(table: pa.Table) -> Tensor:
    """(N, 1), MISSING where the label is unknown."""
    return torch.tensor([[MISSING if label is None else int(label)] for label in table["malignant"].to_pylist()])
