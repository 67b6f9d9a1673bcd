"""Comparisons that mean nothing are refused before anything is read."""

from typing import Any

import pytest

from dermray.captioning.comparison.settings import CompareConfig
from dermray.captioning.settings import RemoteConfig
from dermray.config import PRESETS, ConfigError, load, validate

TWO: dict[str, Any] = {"a": {"captioner": "m"}, "b": {"captioner": "n"}}


def config(captioners: dict[str, Any], **more: Any) -> CompareConfig:
    return validate(CompareConfig, {"output": "runs/c", "rows": "runs/i", "captioners": captioners} | more)


@pytest.mark.parametrize(
    ("captioners", "more", "message"),
    [
        ({"a": {"captioner": "m"}}, {}, r"captioners=\['a'\]: expected two or more to compare"),
        ({}, {}, "expected two or more"),
        (TWO | {"c": {"captioner": "m"}}, {}, "captioners.c: the same captioner as a; expected another model, prompt"),
        # how fast it is asked does not make it another one
        (TWO | {"c": {"captioner": "m", "rows_per_block": 8}}, {}, "captioners.c: the same captioner as a"),
        (TWO | {"c": {"captioner": "m", "promt_set": "abc"}}, {}, "captioners.c.promt_set='abc': unknown key"),
        (
            TWO | {"c": {"captioner": "m", "prompt_set": "abcd"}},
            {},
            r"captioners.c.*prompt_set='abcd': expected one of",
        ),
        (TWO | {"c": {}}, {}, "captioners.c.*give either captioner .* or remote"),
        (TWO | {"c": {"captioner": "m", "output": "x"}}, {}, "captioners.c.output: leave it out"),
        (TWO | {"../c": {"captioner": "k"}}, {}, r"captioners=\['../c'\]: expected names of"),
        (TWO, {"stratify_by": ["malignant", "tone"]}, r"stratify_by=\['tone'\]: expected names out of"),
        (TWO, {"each": {"rows": "x"}}, "captioners.a.rows: leave it out"),
        (TWO, {"images": 1}, "images=1"),
    ],
)
def test_a_comparison_is_checked(captioners: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(captioners, **more)


def test_settings_of_all_are_overruled_by_a_captioners_own() -> None:
    found = config(TWO | {"c": {"captioner": "m", "prompt_set": "abc-label"}}, each={"prompt_set": "attributes-2"})
    asked = found.caption_configs()
    assert {name: one.prompt_set for name, one in asked.items()} == {
        "a": "attributes-2", "b": "attributes-2", "c": "abc-label",
    }  # fmt: skip
    assert asked["c"].output == "runs/c/captions/c" and asked["c"].rows == "runs/c/images"


def test_paper_002s_comparison_is_its_preset() -> None:
    found = load(CompareConfig, PRESETS / "compare-captioners" / "dermaflux.yaml")
    asked = found.caption_configs()
    assert found.images == 100 and len(asked) == 3 and {one.prompt_set for one in asked.values()} == {"abc-label"}
    hosts = [one.host for one in asked.values() if isinstance(one.host, RemoteConfig)]
    assert len(hosts) == 3 and len({host.key_variable for host in hosts}) == 3
