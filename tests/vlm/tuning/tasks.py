"""Tunings of tiny models on phantoms, without Ray."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from dermray.config import validate
from dermray.datasets.phantom import encode_png
from dermray.datasets.renderer import draw_phantoms
from dermray.records import CAPTIONED
from dermray.vlm.nano import NanoConfig, build_model, build_processor, save
from dermray.vlm.tuning.base import Base
from dermray.vlm.tuning.conversations import AnswersConfig
from dermray.vlm.tuning.encode import Tokens, conversed, finish, write_shard
from dermray.vlm.tuning.settings import TuneConfig
from dermray.vlm.tuning.task import VlmTask
from tests.vlm.tuning.tiny import tiny

SMALL = NanoConfig(image_size=32, patch_size=8, hidden_size=32, vision_layers=1, language_layers=1)


def placed(name: str, directory: Path) -> Path:
    """A tiny model in `directory`, of a family or the nano captioner."""
    if name == "nano":
        nano(directory)
        return directory
    return tiny(name, directory)


def nano(directory: Path, seed: int = 0) -> None:
    """The nano captioner, smaller still and untrained."""
    torch.manual_seed(seed)
    processor = build_processor(SMALL)
    save(build_model(SMALL, processor.tokenizer), processor, directory)


def base_of(directory: Path, dtype: str = "fp32") -> Base:
    """A model directory as tasks know it."""
    return Base(str(directory), str(directory), None, dtype)


def phantoms(count: int, split: str = "train", side: int = 32) -> pa.Table:
    """Captioned rows whose captions differ in length."""
    rows = [
        {"image": encode_png(rendered.image), "sample_id": hashlib.sha256(b"%d" % seed).hexdigest(),
         "status": "ok", "split": split,
         "width": side, "height": side, "source": "phantom", "leak_group": str(seed), "licence": "CC0-1.0",
         "true_asymmetry": truth.asymmetry, "true_border_irregular": truth.border_irregular,
         "true_colours": list(truth.colours), "skin_tone": truth.skin_tone, "origin": "synthetic",
         "caption": "red and black, " * (1 + seed % 4) + "smooth border."}
        for seed, (truth, rendered) in enumerate(draw_phantoms(7, count, side))
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, CAPTIONED)


def config_of(base: Path, **changes: Any) -> TuneConfig:
    """A tuning of few steps."""
    loop = {"steps": 4, "batch_size": 6, "accumulate": 2, "learning_rate": 1e-2, "warmup_steps": 2, "ema_decay": 0.0}
    given = {"output": "o", "rows": "r", "base": str(base), "licence": "own", "image_side": 32, "max_length": 256,
             "answers": 1, "answer_tokens": 4}  # fmt: skip
    return validate(TuneConfig, given | changes | {"loop": loop | changes.get("loop", {})})


def encoded(rows: pa.Table, tokens: Tokens, place: Path, split: str = "train") -> str:
    """What `encode` writes of rows' captions, made here."""
    place.mkdir()
    table = conversed(rows, AnswersConfig(answers="caption"), tokens, split, None)
    halves = [table.slice(0, len(table) // 2), table.slice(len(table) // 2)]
    lines = [line for half in halves for line in write_shard(half, str(place)).to_pylist()]
    assert finish(str(place), lines, tokens.image_side, 1000).count == len(rows)
    return str(place)


def task_of(model: Path, place: Path, rows: int = 16, **changes: Any) -> VlmTask:
    """A task on captioned phantoms, with a loop of few steps."""
    place.mkdir(exist_ok=True)
    config = config_of(model, learn={"answers": "caption"}, **changes)
    tokens = Tokens(base_of(model, config.dtype), config.max_length, config.image_side, (), config.packing)
    training = encoded(phantoms(rows), tokens, place / "train")
    task = VlmTask(config.model_dump(mode="json"), tokens, training)
    task.validation = encoded(phantoms(3, "val"), tokens, place / "val", "val")
    return task
