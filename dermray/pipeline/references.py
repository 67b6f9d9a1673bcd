"""`{from: NAME}` in a stage's config: the result of another stage of the same run, in the place of a path."""

from typing import Any

from dermray.config import ConfigError
from dermray.result_fields import leaves, stages_of

FROM = "from"


def references(section: Any, path: str = "") -> dict[str, str]:
    """The named instance of every reference, by its field's dotted name.

    Raises:
        ConfigError: a reference that holds no name.
    """
    if _is_reference(section):
        name = section[FROM]
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{path}.{FROM}={name!r}: expected the name of a stage of this run")
        return {path: name}
    found = dict[str, str]()
    for key, value in _items(section):
        found |= references(value, f"{path}.{key}".removeprefix("."))
    return found


def resolved(section: Any, places: dict[str, str]) -> Any:
    """The same section with each instance's place (an URI) where it was named."""
    if _is_reference(section):
        return places[section[FROM]]
    if isinstance(section, dict):
        return {key: resolved(value, places) for key, value in section.items()}
    return [resolved(value, places) for value in section] if isinstance(section, list) else section


def require_inputs(path: str, name: str, kinds: dict[str, str], fields: dict[str, tuple[str, ...]]) -> None:
    """Refuse a reference that cannot be followed.

    Args:
        path: of the field, in the referring stage's config. name: of the instance that it names. kinds: the stage of
            every instance. fields: what the referring stage reads, of `result_fields`.

    Raises:
        ConfigError: no instance has this name, the field takes no result, or it takes another stage's.
    """
    given = f"{path}={{{FROM}: {name}}}"
    if name not in kinds:
        raise ConfigError(f"{given}: this run has no stage named {name!r}; there are: {', '.join(kinds)}")
    expected = stages_of(fields, path)
    if expected is None:
        known = ", ".join(fields) or "none, it reads no result"
        raise ConfigError(f"{given}: this field takes no stage's result; those that do are: {known}")
    if kinds[name] not in expected:
        fitting = [f"{{{FROM}: {other}}}" for other, stage in kinds.items() if stage in expected]
        raise ConfigError(
            f"{given}: a result of stage {kinds[name]!r}; expected one of {' or '.join(map(repr, expected))}; "
            f"in this run: {' or '.join(fitting) or 'none'}"
        )


def require_no_bare_names(section: Any, kinds: dict[str, str], fields: dict[str, tuple[str, ...]]) -> None:
    """Refuse a path that is an instance's name: somebody meant the instance.

    Raises:
        ConfigError: one is.
    """
    wired = references(section)
    for path, value in leaves(section):
        if path.removesuffix(f".{FROM}") in wired:
            continue
        if isinstance(value, str) and value in kinds and stages_of(fields, path) is not None:
            raise ConfigError(
                f"{path}={value}: a path, and the name of a stage of this run; write {{{FROM}: {value}}} for that "
                f"stage's result, or ./{value} for the path"
            )


def _is_reference(section: Any) -> bool:
    return isinstance(section, dict) and section.keys() == {FROM}


def _items(section: Any) -> Any:
    if isinstance(section, dict):
        return section.items()
    return enumerate(section) if isinstance(section, list) else ()
