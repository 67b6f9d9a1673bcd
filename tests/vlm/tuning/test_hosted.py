"""vLLM's answers against transformers' greedy ones: before tuning, with the adapter, and after merging."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dermray import manifest
from dermray.captioning import models
from dermray.cluster import engine_environment
from dermray.datasets.renderer import draw_phantoms
from dermray.vlm import nano
from dermray.vlm.tuning import adapters, merged
from tests.quickstart import ROOT
from tests.vlm.tuning.hosting import ALL, LANGUAGE, result_of, with_adapter
from tests.vlm.tuning.tasks import base_of, config_of

PHANTOMS = {"seed": 7, "count": 96, "size": 64}
LOUDNESS = 0.5  # of a full tuning's change, in standard deviations of each matrix

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]  # the first test waits for the quickstart, for its captioner


@pytest.fixture(scope="module")
def said(nano_captioner: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], list[str]]]:
    """Of each captioner what transformers says, and what vLLM says of what `captioner=<result>` is resolved to."""
    directory = tmp_path_factory.mktemp("hosted")
    base = Path(manifest.read(nano_captioner).data) / "model"
    images = [Image.fromarray(drawn.image) for _, drawn in draw_phantoms(**PHANTOMS)]
    model, processor = nano.load(base)
    theirs = {"base": nano.greedy(model.eval(), processor, images)}
    found = {"base": models.find(nano_captioner, None)}
    for name, layers, loudness in (("adapter", LANGUAGE, 0.2), ("merged", ALL, 0.2)):
        result, place = result_of(directory / name)
        adapted = with_adapter(base, layers, loudness)
        adapted.save_pretrained(str(place))
        merged.beside(result.data)
        theirs[name], found[name] = nano.greedy(adapted, processor, images), models.find(result.uri, None)
    result, place = result_of(directory / "full")
    theirs["full"] = nano.greedy(tuned_in_full(base, place), processor, images)
    found["full"] = models.find(result.uri, None)
    engines = [
        {"model": found["base"].model, "adapters": [found["adapter"].settings["lora"]]},
        *({"model": found[name].model, "adapters": []} for name in ("merged", "full")),
    ]
    assert found["adapter"].model == found["base"].model and "lora" not in found["merged"].settings
    (directory / "questions.json").write_text(json.dumps({"phantoms": PHANTOMS, "engines": engines}))
    command = [sys.executable, "-m", "tests.vlm.tuning.offline", "questions.json", "answers.json"]
    environment = os.environ | engine_environment(0) | {"HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (plain, adapted_ones), [whole], [full] = json.loads((directory / "answers.json").read_text())
    ours = {"base": plain, "adapter": adapted_ones, "merged": whole, "full": full}
    return {name: (theirs[name], ours[name]) for name in theirs}


def tuned_in_full(base: Path, place: Path) -> torch.nn.Module:
    """A model all of whose matrices are others than the base's, saved as a full tuning saves it."""
    config = config_of(base, method="full", parts=["language_model", "vision_tower", "projector"])
    model = adapters.prepared(base_of(base).load(), base_of(base), config, None)
    torch.manual_seed(1)
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data += LOUDNESS * weight.data.std() * torch.randn(weight.shape)
    adapters.save(model, base_of(base), place)
    base_of(base).processor().save_pretrained(place)
    return model.eval()


@pytest.mark.parametrize("name", ["base", "adapter", "merged", "full"])
def test_vllm_answers_as_transformers_does(said: dict[str, tuple[list[str], list[str]]], name: str) -> None:
    theirs, ours = said[name]
    equal = [a.strip() == b.strip() for a, b in zip(theirs, ours, strict=True)]
    assert np.mean(equal) >= 0.98, [pair for pair in zip(theirs, ours, strict=True) if pair[0] != pair[1]][:3]


@pytest.mark.parametrize("name", ["adapter", "merged", "full"])
def test_they_are_other_answers_than_before(said: dict[str, tuple[list[str], list[str]]], name: str) -> None:
    assert np.mean([a != b for a, b in zip(said["base"][1], said[name][1], strict=True)]) > 0.5
