"""A config as tables: nothing is left out, and Markdown takes what descriptions hold."""

import re
from typing import Any

import pytest
from pydantic import BaseModel, Field

from dermray.generators.base import FAMILIES
from dermray.pipeline import COMMANDS
from dermray.reference.configs import schema_of
from dermray.reference.tables import tables


class Inner(BaseModel):
    """What is inside."""

    size: int = Field(3, ge=1, description="px, of <name>.png")


class First(BaseModel):
    kind: str = Field("a", json_schema_extra={"const": "a"})


class Second(BaseModel):
    kind: str = Field("b", json_schema_extra={"const": "b"})


class Outer(BaseModel):
    output: str = Field(description="directory | bucket, like [this]")
    inner: Inner = Inner()
    larger: Inner | None = Inner(size=9)
    parts: list[Inner] = []
    either: First | Second = First()


def test_a_config_with_sections() -> None:
    text = tables(Outer.model_json_schema())
    assert r"| `output` | **required** | text | directory \| bucket, like \[this\] |" in text
    assert "| `size` | `3` | a whole number, at least 1 | px, of &lt;name>.png |" in text
    assert "| `size` | `9` | a whole number, at least 1 | px, of &lt;name>.png |" in text, (
        "defaults of the section's own"
    )
    assert "| `larger` |  | [`larger`](#config-larger) or null |  |" in text
    assert "| `parts` | `[]` | a list of [`parts.0`](#config-parts-0) |  |" in text
    assert "[`either (a)`](#config-either--a-) or [`either (b)`](#config-either--b-)" in text
    assert "### `inner` { #config-inner }\n\nWhat is inside.\n" in text


@pytest.mark.parametrize("stage", [*COMMANDS, "run", "serve"])
def test_every_section_has_one_table(stage: str) -> None:
    text = tables(schema_of(stage))
    there = re.findall(r"\{ #(config-\S+) \}", text)
    assert len(there) == len(set(there)) and set(re.findall(r"\]\(#(config-[^)]+)\)", text)) == set(there)
    fields = re.findall(r"^\| `(\w+)` \|(?:(?<!\\)[^|]|\\\|)*\|", text, re.MULTILINE)
    assert schema_of(stage)["properties"].keys() <= set(fields)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert {len(re.findall(r"(?<!\\)\|", re.sub("`[^`]*`", "", row))) for row in rows} == {5}, "four cells each"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_s_fields(family: str) -> None:
    parts: dict[str, Any] = schema_of("train", family)["$defs"]
    text = tables(parts["Part"] | {"$defs": parts}, start=f"{family}-model")
    assert all(f"| `{name}` |" in text for name in parts["Part"]["properties"])
