"""One graph at several scales: the arrows stay, the settings of its stages change.

    scale: nano
    scales: {paper: {}, nano: {notes: [Models of this size draw blobs.]}, smoke: {like: nano}}
    stages:
      dit:
        stage: train
        rows: {from: caption}
        scales:
          paper: {preset: train/dermdit_paper}
          nano: {preset: train/dermdit_nano, loop: {steps: 400}}
          smoke: {loop: {steps: 4}}

What stands in a stage itself holds at every scale and goes over what its scale says, which goes over its preset.
"""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import Field

from dermray.config import Config, ConfigError, preset, read_file
from dermray.pipeline.commands import COMMANDS, command
from dermray.result_fields import result_fields, stages_of

PRESET = "preset"  # the key of a stage that says whose fields it begins with
SCALES = "scales"  # the key of a stage that holds what it has at each scale
ELSEWHERE = "runs/"  # where presets have results of other stages lie; in a run, its own stages make them


class ScaleConfig(Config):
    """A scale at which a run can be made."""

    like: str | None = Field(None, description="another scale, which holds where a stage says nothing of this one")
    notes: list[str] | None = Field(
        None, description="what this scale means, printed at the top of the report; default: those of `like`"
    )


def lineage(scale: str, scales: Mapping[str, ScaleConfig]) -> list[str]:
    """A scale after all that it is like, the most general first.

    Raises:
        ConfigError: a scale that is not there, or that is like itself.
    """
    line, name = list[str](), str(scale)
    while name not in line:
        if name not in scales:
            field = f"scales.{line[-1]}.like" if line else "scale"
            raise ConfigError(f"{field}={name}: this run has no such scale; there are: {', '.join(scales) or 'none'}")
        line.append(name)
        parent = scales[name].like
        if parent is None:
            return line[::-1]
        name = parent
    raise ConfigError(f"scales.{line[-1]}.like={name}: {' is like '.join([*line, name])}, so none of them can be first")


def at_scale(
    name: str, section: Mapping[str, Any], line: list[str], known: Collection[str], stage: str
) -> dict[str, Any] | None:
    """A stage's own fields at a scale, over those of its preset; None where this scale leaves the stage out.

    Args:
        name: of the stage. section: as the config has it. line: of `lineage`; empty where the run has no scales.
        known: the run's scales. stage: which command it is.

    Raises:
        ConfigError: the stage lacks this scale or has one that the run lacks, or its preset is none of its command's.
    """
    own = {key: value for key, value in section.items() if key != SCALES}
    settings = _settings(name, section[SCALES], line, known) if SCALES in section else {}
    if settings is None:
        return None
    fields = merged(settings, own)
    given = fields.pop(PRESET, None)
    return merged(_preset(name, given, stage), fields) if given is not None else fields


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings' fields; where both have one, sections are merged and all else is the one above's."""
    both = dict(below)
    for key, value in above.items():
        under = both.get(key)
        both[key] = merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return both


def _settings(name: str, given: Any, line: list[str], known: Collection[str]) -> dict[str, Any] | None:
    field = f"stages.{name}.{SCALES}"
    if not isinstance(given, dict):
        raise ConfigError(f"{field}={given!r}: expected this stage's fields by scale")
    if not line:
        raise ConfigError(f"{field}: this run has no scales; give `scales` and `scale` beside `stages`")
    if unknown := [str(scale) for scale in given if scale not in known]:
        raise ConfigError(f"{field}.{unknown[0]}: this run has no such scale; there are: {', '.join(known)}")
    there = [scale for scale in line if scale in given]
    if not there:
        raise ConfigError(
            f"{field}: lacks scale {line[-1]}; there are: {', '.join(given) or 'none'}; give {field}.{line[-1]}: its "
            "fields, or null, which leaves the stage out"
        )
    settings: dict[str, Any] | None = {}
    for scale in there:
        fields = given[scale]
        if not isinstance(fields, dict | None):
            raise ConfigError(f"{field}.{scale}={fields!r}: expected fields, or null, which leaves the stage out")
        settings = None if fields is None else merged(settings or {}, fields)
    return settings


def _preset(name: str, given: Any, stage: str) -> dict[str, Any]:
    """A preset's fields without its output and without the places where it has other stages' results lie."""
    field = f"stages.{name}.{PRESET}"
    folder = stage.partition(" ")[0]  # both steps of reader-study have one
    if not isinstance(given, str) or not given.startswith(f"{folder}/"):
        raise ConfigError(f"{field}={given!r}: expected one of `dermray presets {folder}`")
    try:
        data = read_file(preset(given))
    except ConfigError as error:
        raise ConfigError(f"{field}: {error}") from None
    data.pop("output", None)
    if stage not in COMMANDS:
        return data  # the graph will say so
    own: dict[str, Any] = _without_results(data, result_fields(command(stage)[0]), "")
    return own


def _without_results(data: Any, fields: dict[str, tuple[str, ...]], path: str) -> Any:
    if isinstance(data, dict):
        below = {key: (f"{path}.{key}".removeprefix("."), value) for key, value in data.items()}
        return {
            key: _without_results(value, fields, name)
            for key, (name, value) in below.items()
            if not _is_elsewhere(value, name, fields)
        }
    if isinstance(data, list):
        return [
            _without_results(value, fields, f"{path}.{number}")
            for number, value in enumerate(data)
            if not _is_elsewhere(value, f"{path}.{number}", fields)
        ]
    return data


def _is_elsewhere(value: Any, path: str, fields: dict[str, tuple[str, ...]]) -> bool:
    return isinstance(value, str) and value.startswith(ELSEWHERE) and stages_of(fields, path) is not None
