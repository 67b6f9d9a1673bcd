"""Parts of models of every family, by transformers' own attributes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import BertConfig, BertModel

from dermray.vlm.tuning.parts import counts, linear_layers, part_of_each
from tests.vlm.tuning.tasks import base_of
from tests.vlm.tuning.tiny import FAMILIES

# (a module's name, its part) that each family's source in transformers says
KNOWN = {
    "llava": ("model.multi_modal_projector.linear_1", "projector"),
    "qwen3_vl": ("model.visual.merger.linear_fc1", "projector"),
    "gemma3": ("model.multi_modal_projector.mm_input_projection_weight", "projector"),
    "mllama": ("model.multi_modal_projector", "projector"),
    "smolvlm": ("model.connector.modality_projection.proj", "projector"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_each_weight_is_of_one_part(name: str, models: Callable[[str], Path]) -> None:
    model = base_of(models(name)).empty()
    found = counts(model)
    assert all(found.values()) and sum(found.values()) == sum(p.numel() for p in model.parameters())
    where, part = KNOWN[name]
    assert part_of_each(model, [where, "lm_head.weight"]) == {where: part, "lm_head.weight": "language_model"}


@pytest.mark.parametrize("name", FAMILIES)
def test_adapters_go_to_linear_layers_of_the_named_parts(name: str, models: Callable[[str], Path]) -> None:
    model = base_of(models(name)).empty()
    words = linear_layers(model, ["language_model"], "linear", "targets")
    attention = linear_layers(model, ["language_model"], "attention", "targets")
    ends = {layer.rpartition(".")[2] for layer in words}
    assert {"q_proj", "o_proj", "gate_proj", "down_proj"} <= ends and "lm_head" not in ends
    assert {layer.rpartition(".")[2] for layer in attention} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert linear_layers(model, ["language_model"], ("q_proj",), "targets") == [w for w in words if "q_proj" in w]
    eyes = linear_layers(model, ["vision_tower"], "linear", "targets")
    assert eyes and not set(eyes) & set(words)


def test_what_is_not_there_is_named(models: Callable[[str], Path]) -> None:
    model = base_of(models("gemma3")).empty()
    with pytest.raises(ValueError, match=r"lora.targets: no linear layer of .* ends with 'query'; there are .*q_proj"):
        linear_layers(model, ["language_model"], ("query",), "lora.targets")
    with pytest.raises(ValueError, match="Gemma3ForConditionalGeneration has no linear layer there"):
        linear_layers(model, ["projector"], "linear", "lora.targets")  # it is a bare matrix


def test_a_model_of_one_part_is_refused() -> None:
    model = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(ValueError, match="BertModel: transformers does not say which of its parts sees"):
        part_of_each(model, ["x"])
