"""Where a run's data sets lie: presets have them below `data/`, which may be another directory or a store."""

from typing import Any

from dermray import storage
from dermray.config import ConfigError

DATA = "data/"  # the head of sources' paths in presets


def below(root: str | None, section: dict[str, Any]) -> dict[str, Any]:
    """A stage's fields, with `root` in the place of DATA at the head of its sources' paths."""
    sources = section.get("sources")
    if root is None or not isinstance(sources, list):
        return section
    return section | {"sources": [_moved(root, given) for given in sources]}


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
    path = given.get("path") if isinstance(given, dict) else None
    if not isinstance(path, str) or not path.startswith(DATA):
        return given
    return given | {"path": storage.join(root, path.removeprefix(DATA))}
