"""Ray's list of a run's checkpoints, by which it goes on.

Ray (2.60) writes it in place: on a disk that is full then, it is cut short or empty, no start can read it, and the
checkpoints are lost. So the last good list is kept beside it. In S3 objects are whole or not there.
"""

import json
from typing import Any

from dermray import storage

RUN = "run"  # Ray's directory of checkpoints, below the training's own
SNAPSHOT = "checkpoint_manager_snapshot.json"
KEPT = "checkpoint_manager_snapshot.kept.json"


def read(directory: str, name: str = SNAPSHOT) -> dict[str, Any] | None:
    """The list, or None where there is none that can be read."""
    place = storage.join(directory, RUN, name)
    if not storage.exists(place):
        return None
    try:
        snapshot: dict[str, Any] = json.loads(storage.read_bytes(place))
    except ValueError:
        return None
    return snapshot


def keep(directory: str) -> None:
    """Copy the list, where it is whole. To be called before Ray learns of another checkpoint: those in this list are
    there until it has written the next one."""
    if not storage.is_s3(directory) and (snapshot := read(directory)) is not None:
        storage.write_bytes(storage.join(directory, RUN, KEPT), json.dumps(snapshot).encode())


def mend(directory: str) -> None:
    """Put the kept list in the place of one that cannot be read; without any, training begins anew.

    Checkpoints that the list does not name are removed: a kill came while they were written, and nobody would go on
    from them.
    """
    place = storage.join(directory, RUN, SNAPSHOT)
    if read(directory) is None and storage.exists(place):
        kept = read(directory, KEPT)
        if kept is not None and _checkpoints(kept) <= set(storage.list_directories(storage.join(directory, RUN))):
            print(f"      {place}: cut short by a full disk; the list before it is taken", flush=True)
            storage.write_bytes(place, json.dumps(kept).encode())
        else:
            print(f"      {place}: cut short by a full disk, and none is kept: training begins anew", flush=True)
            storage.delete_file(place)
    named = _checkpoints(read(directory) or {})
    for name in storage.list_directories(storage.join(directory, RUN)):
        if name.startswith("checkpoint_") and name not in named:
            storage.delete_tree(storage.join(directory, RUN, name))


def _checkpoints(snapshot: dict[str, Any]) -> set[str]:
    """Names of the directories in a list."""
    return {result["checkpoint_dir_name"] for result in snapshot.get("checkpoint_results", ())}
