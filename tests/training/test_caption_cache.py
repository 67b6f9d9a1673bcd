"""Encoded captions by name, on a disk and in S3."""

import pytest
import torch

from dermray.generators.base import Sample
from dermray.training import caption_cache
from dermray.training.caption_cache import CaptionCache


def test_what_is_written_is_read(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caption_cache, "RECENT", 2)  # less than are asked for at a time
    names = [f"{number:020x}" for number in range(5)]
    samples: dict[str, Sample] = {
        name: {"tokens": torch.randn(3, 4).bfloat16(), "pooled": torch.randn(4)} for name in names
    }
    cache = CaptionCache(place)
    assert cache.missing([*names, names[0]]) == names
    cache.write({name: samples[name] for name in names[:3]})
    assert cache.missing(names) == CaptionCache(place).missing(names) == names[3:]
    cache.write({name: samples[name] for name in names[3:]})
    reader = CaptionCache(place)
    for asked in ([4, 0, 4, 1, 2], [2, 1], [3], [0, 0]):
        for number, read in zip(asked, reader.read([names[number] for number in asked]), strict=True):
            sample = samples[names[number]]
            assert read.keys() == sample.keys() and all(torch.equal(read[key], sample[key]) for key in sample)
    with pytest.raises(FileNotFoundError):
        reader.read(["f" * 20])
