"""KubeRay's schemas as plain JSON Schema that allows no field which they do not name."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

CRDS = Path(__file__).parents[3] / "shared" / "data" / "kuberay"  # v1.7.0; not part of the project
FILES = {
    "RayCluster": "ray.io_rayclusters.yaml",
    "RayJob": "ray.io_rayjobs.yaml",
    "RayService": "ray.io_rayservices.yaml",
}


def closed(schema: Any) -> Any:
    """With `additionalProperties: false` on every object that has named fields: Kubernetes would drop others unseen."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {name: closed(part) for name, part in schema.items() if name != "default"}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


@lru_cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    """Of a kind's `v1`."""
    definition = yaml.load((CRDS / FILES[kind]).read_text(), yaml.CSafeLoader)
    schema = next(v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"] if v["name"] == "v1")
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft202012Validator(closed(schema))
