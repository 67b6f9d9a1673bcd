import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.vlm.tuning.tiny import tiny


class Family(NamedTuple):
    """A tiny model, and how its template begins and ends an answer."""

    name: str
    processor: Any
    model: Any
    lead: str
    end: str


# After "ASSISTANT:" and "Assistant:" a model says a space first.
AROUND = {
    "llava": (" ", "</s>"),
    "qwen3_vl": ("", "<|im_end|>"),
    "gemma3": ("", "<end_of_turn>"),
    "mllama": ("", "<|eot_id|>"),
    "smolvlm": (" ", "<end_of_utterance>"),
}


def picture(width: int, height: int, seed: int = 0) -> bytes:
    """A PNG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def family_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    """Models by name, each built once and read as users' models are. Tests that change a processor copy it."""

    @functools.cache
    def build(name: str) -> Family:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        if name == "smolvlm":
            pytest.importorskip("num2words", reason="num2words is not installed: pip install 'dermray[smolvlm]'")
        directory: Path = tiny(name, tmp_path_factory.mktemp(name))
        model = AutoModelForImageTextToText.from_pretrained(directory).eval()
        return Family(name, AutoProcessor.from_pretrained(directory), model, *AROUND[name])

    return build


@pytest.fixture(params=AROUND)
def family(request: pytest.FixtureRequest, family_of: Callable[[str], Family]) -> Family:
    return family_of(request.param)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directories of tiny models by the names of families, or of the nano captioner; each made once."""
    from tests.vlm.tuning.tasks import placed

    return functools.cache(lambda name: placed(name, tmp_path_factory.mktemp(name)))
