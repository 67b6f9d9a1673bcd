"""`dermray config`: which config a stage has, with the part that its family or source decides."""

from typing import Any

from dermray.config import ConfigError
from dermray.reference.template import json_schema, template


def schema_of(stage: str, kind: str | None = None) -> dict[str, Any]:
    """JSON schema of a stage's config; `kind` is a family of `train` or a source of `ingest`.

    Raises:
        ConfigError: no such stage or kind, or the stage has no kinds.
    """
    if stage == "serve":
        from dermray.serving.settings import ServiceConfig

        return _without_kinds(stage, kind, ServiceConfig.model_json_schema())
    from dermray.pipeline import COMMANDS, PipelineConfig, command

    if stage == "run":
        return _without_kinds(stage, kind, PipelineConfig.model_json_schema())
    if stage not in COMMANDS:
        raise ConfigError(f"config of {stage!r}: expected one of {', '.join(sorted([*COMMANDS, 'run', 'serve']))}")
    schema = command(stage)[0].model_json_schema()
    if kind is None or stage not in ("train", "ingest"):
        return _without_kinds(stage, kind, schema)
    return _with_family(schema, kind) if stage == "train" else _with_source(schema, kind)


def described(stage: str, kind: str | None, as_schema: bool) -> str:
    """What the command prints."""
    schema = schema_of(stage, kind)
    return json_schema(schema) if as_schema else template(schema)


def _without_kinds(stage: str, kind: str | None, schema: dict[str, Any]) -> dict[str, Any]:
    if kind is not None:
        raise ConfigError(f"config of {stage} {kind!r}: only train has families and ingest has sources; leave it out")
    return schema


def _with_family(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    from dermray.generators.base import family

    try:
        config: Any = family(kind).Config
    except ValueError as error:
        raise ConfigError(str(error)) from None
    schema["properties"]["family"] |= {"default": kind}
    return _with_part(schema, "model", config.model_json_schema())


def _with_source(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    from dermray.datasets.sources import source

    try:
        part = source(kind).SourceConfig.model_json_schema()
    except ValueError as error:
        raise ConfigError(str(error)) from None
    part["properties"] = {"source": {"default": kind}} | part["properties"]
    schema["$defs"] = schema.get("$defs", {}) | part.pop("$defs", {}) | {"Source": part}
    sources = schema["properties"]["sources"]
    schema["properties"]["sources"] = sources | {"items": {"$ref": "#/$defs/Source"}}
    return schema


def _with_part(schema: dict[str, Any], name: str, part: dict[str, Any]) -> dict[str, Any]:
    schema["$defs"] = schema.get("$defs", {}) | part.pop("$defs", {}) | {"Part": part}
    description = {
        key: schema["properties"][name][key] for key in ("description",) if key in schema["properties"][name]
    }
    schema["properties"][name] = {"$ref": "#/$defs/Part"} | description
    return schema
