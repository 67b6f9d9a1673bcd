"""Files as OpenAI published GLIDE's, in miniature: a byte-pair list, and checkpoints of random weights."""

import gzip
import json
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel

from dermray.generators.glide_models import STAGES, Sizes
from tests.generators.glide_reference import Reference

# \u0120 is how byte-level lists write a space
MERGES = ["n e", "v u", "ne vu", "nevu s", "\u0120 r", "e d", "\u0120r ed"]
LETTERS = sorted(ByteLevel.alphabet())
WORDS = [*LETTERS, *(merge.replace(" ", "") for merge in MERGES), "<|endoftext|>"]
SMALL = {"channels": 16, "head_width": 8, "groups": 8, "text_width": 16, "text_layers": 2, "text_heads": 2}
TINY = {
    "base": Sizes(16, 3, (1, 2, 3), (False, True, True), 2, "squaredcos_cap_v2", words=len(WORDS), **SMALL),
    "upsampler": Sizes(32, 6, (1, 1, 2), (False, False, True), 1, "linear", words=len(WORDS), **SMALL),
}


def write_tokenizer(directory: Path) -> Path:
    """`encoder.json` and `vocab.bpe`, one of them gzipped."""
    directory.mkdir()
    (directory / "encoder.json").write_text(json.dumps({word: number for number, word in enumerate(WORDS)}))
    listed = "\n".join(["#version: 0.2", *MERGES, ""])
    (directory / "vocab.bpe.gz").write_bytes(gzip.compress(listed.encode()))
    return directory


def reference(name: str) -> Reference:
    """The same random weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(len(name))
        return Reference(TINY[name]).eval()


def write_checkpoints(directory: Path) -> dict[str, Path]:
    """A file of each stage."""
    files = {name: directory / f"{name}.pt" for name in STAGES}
    for name, file in files.items():
        torch.save(reference(name).state_dict(), file)
    return files
