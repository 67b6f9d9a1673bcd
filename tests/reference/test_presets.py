"""Every preset says in a sentence what it is for."""

import pytest

from dermray.config import PRESETS, ConfigError
from dermray.reference.presets import listed, presets


def test_every_preset_has_a_sentence() -> None:
    found = presets()
    assert len(found) == len(list(PRESETS.glob("*/*.yaml"))) and dict(found)["train/lesiongen"].startswith("LesionGen:")
    assert [name for name, sentence in found if len(sentence) < 15] == []


def test_of_one_stage() -> None:
    assert listed("captioner") == (
        "captioner/nano  The nano captioner, trained on phantoms in about a minute on two CPU cores."
    )
    with pytest.raises(ConfigError, match=r"presets of 'x': expected one of audit-captions, .*, train"):
        listed("x")
