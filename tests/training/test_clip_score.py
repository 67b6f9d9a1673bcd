from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from dermray import weights
from dermray.generators import nano
from dermray.generators.base import Request
from dermray.train_loop import LoopConfig
from dermray.training.batches import Source
from dermray.training.clip_score import ClipScore, check_clip
from dermray.training.task import GeneratorTask
from tests.generators.conftest import CAPTIONS

IMAGES = list(torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))
PROMPTS = [*CAPTIONS[:2], " ".join(["lesion"] * 200)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny one, in the files of OpenAI's on the hub."""
    directory = tmp_path_factory.mktemp("clip")
    words = nano.tokenizer([*CAPTIONS, "lesion"], 77)
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {name: getattr(words, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = size | ends | {"vocab_size": len(words), "max_position_embeddings": 77}
    vision = size | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    transformers.CLIPModel(config).save_pretrained(directory)
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    transformers.CLIPImageProcessor(**sizes).save_pretrained(directory)
    words.save_pretrained(directory)
    return directory


class AsBefore:
    """A CLIP whose features are tensors, as torchmetrics has known them since before transformers 5."""

    def __init__(self, directory: Path) -> None:
        self._model = transformers.CLIPModel.from_pretrained(directory).eval()
        self.config = self._model.config

    def get_image_features(self, *given: Any) -> Any:
        return self._model.get_image_features(*given).pooler_output

    def get_text_features(self, *given: Any) -> Any:
        return self._model.get_text_features(*given).pooler_output

    def to(self, device: Any) -> "AsBefore":
        return self


def test_scores_are_those_of_torchmetrics(clip: Path) -> None:
    from torchmetrics.functional.multimodal import clip_score

    scores = ClipScore(str(clip))(IMAGES, PROMPTS)
    known = AsBefore(clip), transformers.CLIPProcessor.from_pretrained(clip)
    for score, image, prompt in zip(scores, IMAGES, PROMPTS[:2], strict=False):
        assert score == pytest.approx(clip_score(image, prompt, lambda: known).item(), abs=1e-4)
    assert len(scores) == 3 and all(0 <= score <= 100 for score in scores) and len(set(scores)) > 1


def test_a_task_scores_its_previews_and_their_mean(clip: Path) -> None:
    previews = {"benign": Request(PROMPTS[0], 0), "malignant": Request(PROMPTS[1], 0)}
    task = GeneratorTask("none", {}, Source(""), LoopConfig(steps=1).model_dump(), False, previews, clip=str(clip))
    scores = task.scores({f"samples/{name}": image for name, image in zip(previews, IMAGES, strict=False)})
    each = ClipScore(str(clip))(IMAGES[:2], PROMPTS[:2])
    assert scores == {
        "clip_score/benign": each[0], "clip_score/malignant": each[1], "previews/clip_score": sum(each) / 2,
    }  # fmt: skip
    assert GeneratorTask("none", {}, Source(""), {}, False, previews).scores({"samples/benign": IMAGES[0]}) == {}


def test_what_is_no_clip_is_refused(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    monkeypatch.setattr(weights, "hub_commit", lambda name, _: asked.append(name))
    check_clip(str(clip), None, "previews.clip")
    check_clip("openai/clip-vit-large-patch14", None, "previews.clip")
    assert asked == ["openai/clip-vit-large-patch14"]
    with pytest.raises(FileNotFoundError, match="previews.clip=/nowhere/clip: no such directory; give a model"):
        check_clip("/nowhere/clip", None, "previews.clip")
    with pytest.raises(ValueError, match=r"previews\.clip=.*: expected the folder of a CLIP, and there is no config"):
        check_clip(str(tmp_path), None, "previews.clip")
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ValueError, match="says t5"):
        check_clip(str(tmp_path), None, "previews.clip")
