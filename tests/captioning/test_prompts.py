import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermray.captioning import prompts
from dermray.captioning.prompts import clinical_qa

FULL = {
    "sample_id": "00ff00ff", "malignant": True, "diagnosis": "melanoma", "skin_tone": "B", "sex": "male", "age": 55.0,
    "site": "back", "modality": "dermoscopic",
}  # fmt: skip


def test_abc_is_dermaflux_with_and_without_the_label() -> None:
    assert prompts.render("abc", FULL) == (
        "This is an image containing a lesion. "
        "Give me a description of this mole regarding its asymmetry, border irregularity, and color."
    )
    assert "an image containing a malignant lesion." in prompts.render("abc-label", FULL)
    assert "an image containing a lesion." in prompts.render("abc-label", FULL | {"malignant": None})


def test_dermdits_two_and_five_attributes() -> None:
    two, five = prompts.render("attributes-2", FULL), prompts.render("attributes-5", FULL)
    assert "malignant skin lesion on skin tone B." in two and "55" not in two and "back" not in two
    assert all(text in five for text in ("Skin tone: B.", "Sex: male.", "Age: 55.", "Anatomical site: back."))


def test_clinical_questions_come_with_context_and_are_the_images_own() -> None:
    prompt = prompts.render("clinical-qa", FULL)
    assert "Never quote it" in prompt and "- diagnosis: melanoma" in prompt and "1. " in prompt and "2. " in prompt
    assert prompts.render("clinical-qa", FULL) == prompt
    asked = {prompts.render("clinical-qa", FULL | {"sample_id": f"{i:08x}"}) for i in range(12)}
    assert len(asked) == len(clinical_qa.GENERAL) * len(clinical_qa.SPECIFIC["dermoscopic"])
    clinical = prompts.render("clinical-qa", FULL | {"modality": "clinical"})
    assert any(question in clinical for question in clinical_qa.SPECIFIC["clinical"])
    assert "context" not in prompts.render("clinical-qa", {"sample_id": "00"}), "nothing known, nothing promised"


@pytest.mark.parametrize("name", prompts.NAMES)
@given(
    missing=st.sets(st.sampled_from(sorted(FULL.keys() - {"sample_id"}))),
    blank=st.sampled_from([None, "", "nan", float("nan")]),
)
def test_what_is_missing_is_left_out(name: str, missing: set[str], blank: Any) -> None:
    row = FULL | {key: blank for key in missing if not (key == "age" and isinstance(blank, str))}
    prompt = prompts.render(name, row | ({"malignant": None} if "malignant" in missing else {}))
    assert re.search(r"\b(nan|none|null)\b", prompt.lower()) is None
    assert "  " not in prompt and " ." not in prompt and not prompt.endswith(" ")


def test_prompts_are_versioned_by_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prompts.prompt_hash("a") != prompts.prompt_hash("b") and len(prompts.prompt_hash("a")) == 12
    versions = {prompts.version(name) for name in prompts.NAMES}
    assert len(versions) == len(prompts.NAMES)
    before = prompts.version("clinical-qa")
    other = dataclasses.replace(clinical_qa.PROMPT_SET, phrasings=("Other words?",))
    monkeypatch.setattr(clinical_qa, "PROMPT_SET", other)
    assert prompts.version("clinical-qa") != before


def test_unknown_sets_are_named() -> None:
    with pytest.raises(ValueError, match="prompt_set='abcd': expected one of"):
        prompts.render("abcd", {})
