"""Where a run's data sets lie: presets have them below `data/`, which may be another directory or a store."""

from typing import Any

from dermray import storage
from dermray.config import ConfigError

DATA = "data/"  # the head of paths in presets
WITH_PATHS = ("sources", "known_duplicates")  # an ingest's fields


def below(root: str | None, section: dict[str, Any]) -> dict[str, Any]:
    """A stage's fields, with `root` in the place of DATA at the head of the paths of its data."""
    if root is None:
        return section
    given = {name: section[name] for name in WITH_PATHS if isinstance(section.get(name), list)}
    return section | {name: [_moved(root, item) for item in items] for name, items in given.items()}


def require_place(root: str) -> None:
    """Refuse what is no place.

    Raises:
        ConfigError: neither a path nor an s3:// URI.
    """
    try:
        storage.normalise(root)
    except ValueError as error:
        raise ConfigError(f"data={error}") from None


def holds_data(section: dict[str, Any]) -> bool:
    """Whether a stage reads something below DATA."""
    return below("/", section) != section


def _moved(root: str, given: Any) -> Any:
    if isinstance(given, str):  # a list of known duplicates may be its path alone
        return _moved(root, {"path": given})["path"]
    path = given.get("path") if isinstance(given, dict) else None
    if not isinstance(path, str) or not path.startswith(DATA):
        return given
    return given | {"path": storage.join(root, path.removeprefix(DATA))}
