"""Adapters that vLLM serves, serves in part, or that belong to another base; and vLLM's own word on their names."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlavaConfig

from dermray.captioning import adapters, models
from dermray.captioning.settings import VllmConfig

LAYER = "base_model.model.model.language_model.layers.{}.self_attn.q_proj"
LLAVA = LlavaConfig(
    text_config=LlamaConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=1, intermediate_size=32, vocab_size=9
    ),
    vision_config={
        "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 1, "image_size": 32, "patch_size": 8,
    },
)  # fmt: skip


def written(directory: Path, *layers: str, rank: int = 4, width: int = 32, **settings: Any) -> str:
    """An adapter in peft's format; its values do not matter here."""
    directory.mkdir(exist_ok=True)
    about = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj"]} | settings
    (directory / "adapter_config.json").write_text(json.dumps(about))
    tensors = {f"{layer}.lora_A.weight": torch.zeros(rank, width) for layer in layers}
    tensors |= {f"{layer}.lora_B.weight": torch.zeros(width, rank) for layer in layers}
    save_file(tensors, directory / "adapter_model.safetensors")
    return str(directory)


def read(directory: Path, *layers: str, **settings: Any) -> adapters.Adapter:
    return adapters.read(written(directory, *(layers or [LAYER.format(0)]), **settings), "engine.lora")


def base(directory: Path) -> str:
    """A model directory without weights."""
    LLAVA.architectures = ["LlavaForConditionalGeneration"]
    LLAVA.save_pretrained(directory)
    return str(directory)


def test_what_vllm_serves(tmp_path: Path) -> None:
    plain = read(tmp_path / "plain", LAYER.format(0), LAYER.format(1), rank=12, use_rslora=True, modules_to_save=None)
    assert plain.layers["model.language_model.layers.1.self_attn.q_proj"] == (32, 32)
    assert adapters.unserved(plain, "llava") is adapters.unserved(plain, "qwen3_vl") is None
    assert adapters.room(plain.rank) == 16


@pytest.mark.parametrize(
    ("kind", "layer", "settings", "reason"),
    [
        ("llava", "model.vision_tower.encoder.layers.0.self_attn.q_proj", {}, "pass over 1 of its 1 layers"),
        ("qwen3_vl", "model.visual.merger.linear_fc1", {}, "pass over 1 of its 1 layers"),
        ("smolvlm", "model.connector.modality_projection.proj", {}, "pass over 1 of its 1 layers"),
        ("gemma3", "lm_head", {}, "such as lm_head"),
        ("smolvlm", "model.language_model.layers.0.q_proj", {}, "pass over 1 of its 1 layers"),
        ("llava", None, {"use_dora": True}, "vLLM knows no use_dora=True"),
        ("llava", None, {"modules_to_save": ["lm_head"]}, "vLLM knows no modules_to_save=['lm_head']"),
        ("llava", None, {"alpha_pattern": {"q_proj": 2}}, "alpha_pattern"),
        ("llava", None, {"bias": "all"}, "bias='all'"),
        ("llava", None, {"rank": 600}, "rank 600 is above 512"),
        ("mllama", None, {}, "no adapters to models of type mllama"),
    ],
)
def test_what_it_would_serve_in_part(
    tmp_path: Path, kind: str, layer: str | None, settings: dict[str, Any], reason: str
) -> None:
    name = f"base_model.model.{layer}" if layer else LAYER.format(0)
    told = adapters.unserved(read(tmp_path / "adapter", name, **settings), kind)
    assert told is not None and reason in told


def test_an_adapter_of_another_base_is_refused_before_anything_starts(tmp_path: Path) -> None:
    model = base(tmp_path / "model")
    fits = written(tmp_path / "fits", LAYER.format(1), base_model_name_or_path="somewhere/else")
    found = models.chosen(model, VllmConfig(lora=fits, lora_rank=8))
    assert found.settings["lora"] == fits and found.name == f"{model} + {fits}"
    older = written(tmp_path / "older", "base_model.model.language_model.model.layers.1.self_attn.q_proj")
    assert models.chosen(model, VllmConfig(lora=older)).settings["lora"] == older, "names of transformers 4"
    deeper = written(tmp_path / "deeper", LAYER.format(2), base_model_name_or_path="org/larger")
    with pytest.raises(
        ValueError, match=r"of another base than .*/model \(it was trained on org/larger\): its model.*lay"
    ):
        models.chosen(model, VllmConfig(lora=deeper))
    wider = written(tmp_path / "wider", LAYER.format(0), width=64)
    with pytest.raises(ValueError, match=r"engine.lora=.*/wider: .* is 64 x 64, there it is 32 x 32"):
        models.chosen(model, VllmConfig(lora=wider))
    named = adapters.read(written(tmp_path / "n", base_model_name_or_path="google/medgemma-4b-it"), "engine.lora")
    with pytest.raises(ValueError, match="an adapter of google/medgemma-4b-it, not of google/gemma-3-4b-it"):
        adapters.require_base(named, "google/gemma-3-4b-it", None, "engine.lora")
    adapters.require_base(named, "copies/MedGemma-4b-it", None, "engine.lora")


def test_other_things_that_are_wrong_with_an_adapter(tmp_path: Path) -> None:
    model = base(tmp_path / "model")
    with pytest.raises(ValueError, match=r"engine.lora=.*/model: no adapter_config.json; expected a LoRA adapter as p"):
        models.chosen(model, VllmConfig(lora=model))
    with pytest.raises(ValueError, match="type IA3; expected peft's LORA"):
        models.chosen(model, VllmConfig(lora=written(tmp_path / "ia3", peft_type="IA3")))
    with pytest.raises(ValueError, match=r"vLLM knows no use_dora=True; merge it into its base"):
        models.chosen(model, VllmConfig(lora=written(tmp_path / "dora", LAYER.format(0), use_dora=True)))
    with pytest.raises(ValueError, match=r"engine.lora_rank=2: the adapter's is 4; give as much"):
        models.chosen(model, VllmConfig(lora=written(tmp_path / "high", LAYER.format(0)), lora_rank=2))
    (tmp_path / "high" / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match="no adapter_model.safetensors; save the adapter with peft's save_pretrained"):
        models.chosen(model, VllmConfig(lora=f"{tmp_path}/high"))


@pytest.mark.slow
@pytest.mark.xdist_group("vllm")
@pytest.mark.parametrize("kind", sorted(adapters.SERVED))
def test_vllm_finds_these_layers_by_these_names(kind: str) -> None:
    """What vLLM makes of a name must be a name below what it calls the language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as CLASSES
    from vllm.lora.utils import parse_fine_tuned_lora_name
    from vllm.model_executor.models import ModelRegistry, supports_lora

    model: Any = ModelRegistry._try_load_model_cls(str(CLASSES[kind]))
    assert supports_lora(model)
    [language] = model.get_mm_mapping(None).language_model
    mapper = getattr(model, "hf_to_vllm_mapper", None)
    for prefix in adapters.SERVED[kind]:
        name = f"base_model.model.{prefix}0.self_attn.q_proj.lora_A.weight"
        layer, _ = parse_fine_tuned_lora_name(name, mapper and mapper.get_rename_mapper())
        nested = "language_model.model.layers." if language == "language_model" else "model.text_model.layers."
        assert layer == f"{nested}0.self_attn.q_proj" and layer.startswith(language)
