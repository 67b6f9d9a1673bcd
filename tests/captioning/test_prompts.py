import pytest

from dermray.captioning import prompts


def test_abc_is_dermaflux_without_the_label() -> None:
    prompt = prompts.render("abc", {"diagnosis": "melanoma", "malignant": True})
    assert "asymmetry, border irregularity, and color" in prompt
    assert "melanoma" not in prompt and "malignant" not in prompt


def test_prompts_are_versioned_by_hash() -> None:
    assert prompts.prompt_hash("a") != prompts.prompt_hash("b") and len(prompts.prompt_hash("a")) == 12


def test_unknown_sets_are_named() -> None:
    with pytest.raises(ValueError, match="prompt_set='abcd': expected one of"):
        prompts.render("abcd", {})
