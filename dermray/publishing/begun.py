"""Whether a directory is free, holds this export's beginning, or something else."""

import json
from typing import Any

from dermray import storage
from dermray.config import ConfigError


def goes_on(output: str, note: str, work: dict[str, Any], differs: str) -> bool:
    """Whether this work was begun here before.

    Args:
        note: URI of the note that `begun` writes. differs: what makes another export.

    Raises:
        ConfigError: something else lies here.
    """
    if storage.exists(note):
        if (there := json.loads(storage.read_bytes(note))) != work:
            raise ConfigError(
                f"{output}: holds an export {differs} ({_difference(there, work)}); choose another directory"
            )
        return True
    if storage.exists(output) and (not storage.is_directory(output) or storage.list_files(output)):
        raise ConfigError(f"{output}: holds files that are no export; choose an empty or a new directory")
    return False


def begun(output: str, note: str, work: dict[str, Any], differs: str) -> bool:
    """`goes_on`, and from now on it does."""
    if goes_on(output, note, work, differs):
        return True
    storage.make_directory(output)
    storage.create(note, json.dumps(work, sort_keys=True).encode())
    return False


def _difference(there: dict[str, Any], work: dict[str, Any]) -> str:
    names = [name for name in sorted(there.keys() | work.keys()) if there.get(name) != work.get(name)]
    return "; ".join(f"{name}: {there.get(name)!r} there, {work.get(name)!r} now" for name in names)
