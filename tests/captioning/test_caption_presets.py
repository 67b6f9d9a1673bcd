"""Every captioner of a preset is one that the installed vLLM can host, by its published architecture."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from dermray.captioning.hosted import NOT_IN_FLOAT16
from dermray.config import PRESETS

STAGES = ("caption", "compare-captioners")


class Published(NamedTuple):
    """Of a hub id: its config.json's model_type and architecture."""

    model_type: str
    architecture: str
    source: str  # of these two; the config.json itself was at hand for none of them


# A preset's captioner that is missing here fails: look up the config.json of its hub page before you add it.
PUBLISHED = {
    "llava-hf/llava-1.5-7b-hf": Published(
        "llava", "LlavaForConditionalGeneration", "example in transformers' modeling_llava"
    ),
    "chaoyinshe/llava-med-v1.5-mistral-7b-hf": Published(
        "llava", "LlavaForConditionalGeneration", "a conversion to transformers' LLaVA, as its name says"
    ),
    "Qwen/Qwen3-VL-8B-Instruct": Published(
        "qwen3_vl", "Qwen3VLForConditionalGeneration", "example in transformers' modeling_qwen3_vl"
    ),
    "Qwen/Qwen3.5-9B": Published(
        "qwen3_5",
        "Qwen3_5ForConditionalGeneration",
        "transformers' page of Qwen3.5; projects that check its config.json",
    ),
    "google/medgemma-4b-it": Published("gemma3", "Gemma3ForConditionalGeneration", "its card: of Gemma 3"),
    "google/medgemma-1.5-4b-it": Published(
        "gemma3", "Gemma3ForConditionalGeneration", "its card (Gemma 3 variants), tag gemma3 of copies of it"
    ),
    "haic-hmgu/dermatology-captioning-12b": Published(
        "gemma3", "Gemma3ForConditionalGeneration", "tag gemma3 of its hub page"
    ),
    "lingshu-medical-mllm/Lingshu-7B": Published(
        "qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", "its card: built on Qwen2.5-VL"
    ),
    "HuggingFaceTB/SmolVLM-Instruct": Published(
        "idefics3", "Idefics3ForConditionalGeneration", "its card: based on Idefics3; benchmarks load it by this class"
    ),
    "HuggingFaceTB/SmolVLM2-2.2B-Instruct": Published(
        "smolvlm", "SmolVLMForConditionalGeneration", "example in transformers' modeling_smolvlm"
    ),
    # what the stage `captioner` writes for vLLM: tests/vlm holds it to that
    "runs/captioner": Published("llava", "LlavaForConditionalGeneration", "dermray.vlm.nano"),
}
TEMPLATES_LACKING = {"chaoyinshe/llava-med-v1.5-mistral-7b-hf", "haic-hmgu/dermatology-captioning-12b"}


def captioners() -> list[tuple[str, dict[str, Any]]]:
    """Name of the preset, and settings of each captioner in it that vLLM hosts."""
    found = []
    for stage in STAGES:
        for file in sorted((PRESETS / stage).glob("*.yaml")):
            given = yaml.safe_load(file.read_text())
            every = (
                [given.get("each", {}) | one for one in given["captioners"].values()]
                if "captioners" in given
                else [given]
            )
            found += [(f"{stage}/{file.stem}", one) for one in every if "remote" not in one]
    return found


def registered(architecture: str) -> bool:
    """Whether the installed vLLM hosts it as a model that sees."""
    from vllm.model_executor.models.registry import _MULTIMODAL_MODELS, ModelRegistry

    return architecture in _MULTIMODAL_MODELS and architecture in ModelRegistry.get_supported_archs()


@pytest.mark.parametrize(("preset", "given"), captioners(), ids=lambda value: value if isinstance(value, str) else "")
def test_vllm_hosts_a_preset_s_captioner(preset: str, given: dict[str, Any]) -> None:
    name = given["captioner"]
    assert name in PUBLISHED, f"{preset}: {name} is not in PUBLISHED; look its architecture up and add it"
    published = PUBLISHED[name]
    assert registered(published.architecture), f"{preset}: vLLM does not register {published.architecture}"
    engine = given.get("engine", {})
    assert (name in TEMPLATES_LACKING) == ("prompt_format" in engine), "a template, or a format of ours"
    if published.model_type in NOT_IN_FLOAT16:
        assert engine["dtype"] == "bfloat16", f"{preset}: {published.model_type} and float16"


@pytest.mark.parametrize("published", dict.fromkeys(PUBLISHED.values()), ids=lambda one: one.source[:20])
def test_the_architecture_is_transformers_own_for_its_type(published: Published) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as NAMES

    assert NAMES[published.model_type] == published.architecture


def test_what_vllm_dropped_is_found_out() -> None:
    """Llama 3.2's, the captioner of paper 002: it is asked over HTTP in compare-captioners/dermaflux."""
    assert not registered("MllamaForConditionalGeneration") and not registered("Qwen3ForCausalLM")
    words = (Path(PRESETS) / "compare-captioners" / "dermaflux.yaml").read_text()
    assert "MllamaForConditionalGeneration" in words


def test_every_preset_tells_its_licence_and_evidence() -> None:
    for name in ("medgemma_1_5", "dermatology_captioning", "qwen3_5", "lingshu", "smolvlm2"):
        words = (PRESETS / "caption" / f"{name}.yaml").read_text()
        assert "# Licence: " in words and "Evidence: " in words, name
