"""Which fields of a config name a result, and of which stages: what a graph may wire, said once, where the field is."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

ANY = "*"  # in a field's name: each item of a list, each value of a mapping


class ResultOf:
    """Metadata of a text that is, or may be, the place of a result of one of these stages:
    `rows: Annotated[str, ResultOf("caption")]`."""

    def __init__(self, *stages: str) -> None:
        self.stages = stages


@dataclass(frozen=True)
class SectionOf:
    """Metadata of an untyped section: its fields are those of this config."""

    config: type[BaseModel]


def result_fields(cls: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """The stages whose results a field may name, by the field's dotted name, such as `synthetic.*.result`."""
    return dict(_below(cls, ()))


def stages_of(fields: dict[str, tuple[str, ...]], path: str) -> tuple[str, ...] | None:
    """The entry of `result_fields` for a field as a config has it, such as `synthetic.0.result`, or None."""
    parts = path.split(".")
    for name, stages in fields.items():
        pattern = name.split(".")
        if len(pattern) == len(parts) and all(p in (ANY, part) for p, part in zip(pattern, parts, strict=True)):
            return stages
    return None


def named_results(config: BaseModel) -> Iterator[tuple[str, str]]:
    """(field, place) of all texts of a config that stand where a result may be named."""
    fields = result_fields(type(config))
    for path, value in leaves(config.model_dump(mode="json")):
        if isinstance(value, str) and stages_of(fields, path) is not None:
            yield path, value


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything in mappings and lists that is neither."""
    if not isinstance(data, dict | list):
        yield path, data
        return
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield from leaves(value, f"{path}.{key}".removeprefix("."))


def _below(annotation: Any, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind, *metadata = arguments
        yield from ((".".join(path), m.stages) for m in metadata if isinstance(m, ResultOf))
        yield from _below(next((m.config for m in metadata if isinstance(m, SectionOf)), kind), path)
    elif origin in (Union, UnionType):
        for branch in arguments:
            yield from _below(branch, path)
    elif origin is dict:
        yield from _below(arguments[1], (*path, ANY))
    elif origin in (list, tuple):
        yield from _below(arguments[0], (*path, ANY))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            kind = field.annotation
            for metadata in field.metadata:
                kind = Annotated[kind, metadata]
            yield from _below(kind, (*path, name))
