"""Whether some config has a field of this dotted name."""

from functools import cache
from typing import Any

from dermray.datasets.sources import SOURCES
from dermray.generators.base import FAMILIES
from dermray.pipeline import COMMANDS
from dermray.provenance.settings import ExportConfig
from dermray.reference.configs import schema_of


@cache
def schemas() -> list[dict[str, Any]]:
    """Of all stages; of train by family, of ingest by source, as alone they say nothing of `model` and `sources`."""
    stages = [schema_of(stage) for stage in [*COMMANDS, "run", "serve"] if stage not in ("train", "ingest")]
    kinds = [schema_of("train", family) for family in FAMILIES] + [schema_of("ingest", source) for source in SOURCES]
    return [*stages, *kinds, ExportConfig.model_json_schema()]


def is_field(dotted: str) -> bool:
    """Of any of them."""
    return any(_has(schema, dotted.split("."), schema.get("$defs", {})) for schema in schemas())


def _has(field: dict[str, Any], path: list[str], parts: dict[str, Any]) -> bool:
    if not path:
        return True
    for kind in field.get("anyOf") or field.get("oneOf") or [field]:
        kind = parts[kind["$ref"].rsplit("/", 1)[-1]] if "$ref" in kind else kind
        name, *rest = path
        if "properties" in kind:
            found = name in kind["properties"] and _has(kind["properties"][name], rest, parts)
        elif kind.get("type") == "array":
            found = name.isdigit() and _has(kind.get("items", {}), rest, parts)
        else:
            found = kind.get("type") == "object" or (("anyOf" in kind or "oneOf" in kind) and _has(kind, path, parts))
        if found:
            return True
    return False
