"""Fields that take a result say whose."""

import re
from typing import Annotated, Any

import pytest
from pydantic import Field

from dermray.classification.sweep_settings import SweepConfig
from dermray.config import Config, HowFast
from dermray.pipeline import COMMANDS, command
from dermray.result_fields import ResultOf, SectionOf, named_results, result_fields, stages_of

TOLD = re.compile(r"\bresults? of (?:the )?`?(?:" + "|".join(COMMANDS) + r")\b")  # a description that names a stage


@pytest.mark.parametrize("stage", COMMANDS)
def test_a_field_that_is_described_as_a_result_is_declared_as_one(stage: str) -> None:
    cls, _ = command(stage)
    declared = {name.partition(".")[0] for name in result_fields(cls)}
    described = {name for name, field in cls.model_fields.items() if TOLD.search(field.description or "")}
    assert described <= declared
    assert {other for stages in result_fields(cls).values() for other in stages} <= COMMANDS.keys()


class Part(Config):
    rows: HowFast[Annotated[str, ResultOf("ingest", "caption")]]


class Whole(Config):
    one: Annotated[str, ResultOf("caption")] | None = Field(None, description="with a default")
    several: tuple[Annotated[str, ResultOf("sweep")], ...] = ()
    either: Annotated[str, ResultOf("generate")] | dict[str, Annotated[str, ResultOf("generate")]] = "x"
    parts: list[Part] = []
    loose: dict[str, Annotated[dict[str, Any], SectionOf(Part)]] = {}
    other: str = "y"


def test_fields_are_found_at_any_depth() -> None:
    fields = result_fields(Whole)
    assert fields == {
        "one": ("caption",), "several.*": ("sweep",), "either": ("generate",), "either.*": ("generate",),
        "parts.*.rows": ("ingest", "caption"), "loose.*.rows": ("ingest", "caption"),
    }  # fmt: skip
    assert stages_of(fields, "parts.12.rows") == ("ingest", "caption")
    assert stages_of(fields, "parts.12") is None and stages_of(fields, "other") is None


def test_results_that_a_config_names() -> None:
    given = Whole(several=("a", "b"), either={"n": "c"}, parts=[Part(rows="d")], loose={"k": {"rows": "e", "x": "f"}})
    assert dict(named_results(given)) == {
        "several.0": "a", "several.1": "b", "either.n": "c", "parts.0.rows": "d", "loose.k.rows": "e",
    }  # fmt: skip
    sweep = SweepConfig(output="o", rows="r", synthetic="s")
    assert dict(named_results(sweep)) == {"rows": "r", "synthetic": "s"}
