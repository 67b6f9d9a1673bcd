"""What `dermray config` prints is what the config classes take."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from dermray.config import PRESETS, ConfigError, load, validate
from dermray.datasets.sources import SOURCES
from dermray.generators.base import FAMILIES
from dermray.pipeline import COMMANDS, command
from dermray.reference.configs import described, schema_of
from dermray.reference.template import template
from dermray.serving.settings import ServiceConfig
from tests.conftest import call_cli

STAGES_WITH_PRESETS = [(file.parent.name, file) for file in sorted(PRESETS.glob("*/*.yaml"))]


def merged(under: Any, over: Any) -> Any:
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {name: merged(under.get(name), value) for name, value in over.items()}
    return over


@pytest.mark.parametrize(
    ("stage", "file"), [case for case in STAGES_WITH_PRESETS if case[0] in COMMANDS], ids=lambda value: str(value)[-40:]
)
def test_a_template_with_a_preset_s_values_is_that_preset(stage: str, file: Path) -> None:
    cls, _ = command(stage)
    given = yaml.safe_load(file.read_text()) | {"output": "runs/x"}
    needed = {name: f"runs/{name}" for name in schema_of(stage).get("required", ()) if name not in given}
    needed |= {name: ["runs/a"] for name in needed if cls.model_fields[name].annotation is not str}
    own = validate(cls, given | needed)
    filled = merged(yaml.safe_load(described(stage, None, as_schema=False)), given | needed)
    if "epochs" in given.get("training", {}):
        filled["training"]["steps"] = None  # as the message says that a user has to
    assert validate(cls, filled) == own


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_s_part_is_its_config(family: str) -> None:
    from dermray.generators.base import family as class_of

    part = yaml.safe_load(described("train", family, as_schema=False))["model"] or {}
    known: Any = class_of(family).Config
    required = {name for name, field in known.model_fields.items() if field.is_required()}
    assert part.keys() | required == known.model_fields.keys()


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_a_source_s_part_is_its_config(source: str) -> None:
    schema = schema_of("ingest", source)
    jsonschema.Draft202012Validator.check_schema(schema)
    (part,) = yaml.safe_load(template(schema))["sources"]
    assert part["source"] == source and part.keys() <= schema["$defs"]["Source"]["properties"].keys()


def test_a_service_s_template_is_its_defaults() -> None:
    filled = yaml.safe_load(described("serve", None, as_schema=False)) | {"run": "runs/x"}
    assert validate(ServiceConfig, filled) == ServiceConfig(run="runs/x")


def test_a_template_says_what_a_field_may_be() -> None:
    lines = described("train", "flux_lora", as_schema=False).splitlines()
    assert "# rows:  # required: result of the caption stage [text]" in lines
    assert "  dtype: fp32  # of the frozen base [fp32 | bf16]" in lines
    assert "  rank: 64  # [a whole number, at least 1]" in lines


def test_the_schema_checks_a_config_in_an_editor() -> None:
    schema = json.loads(described("train", "flux_lora", as_schema=True))
    good = {"output": "o", "rows": "r", "family": "flux_lora", "model": {"rank": 8}, "loop": {"steps": 3}}
    jsonschema.validate(good, schema)
    with pytest.raises(jsonschema.ValidationError, match="rnk"):
        jsonschema.validate(good | {"model": {"rnk": 8}}, schema)


@pytest.mark.parametrize(
    ("stage", "kind", "message"),
    [
        ("trian", None, "expected one of audit-captions"),
        ("train", "flux", "family='flux': expected one of"),
        ("ingest", "ham", "source='ham': expected one of"),
        ("caption", "x", "only train has families and ingest has sources"),
        ("serve", "x", "only train has families"),
    ],
)
def test_what_there_is_not(stage: str, kind: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        described(stage, kind, as_schema=False)


def test_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = call_cli(capsys, "config", "evaluate")
    assert code == 0
    file = tmp_path / "evaluate.yaml"
    file.write_text(out)
    assert load(command("evaluate")[0], file, ["output=o", "rows=r", "synthetic=s"])
    code, _, error = call_cli(capsys, "config", "nothing")
    assert code == 2 and "config of 'nothing': expected one of" in error
