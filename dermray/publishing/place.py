"""Where an export lies: whose it is, whether it was begun, and what of it is done.

    <output>/.dermray/export.json      of what, and how: a killed export of the same goes on
    <output>/.dermray/claim*           one export writes at a time
    <output>/.dermray/done/*.json      a note for each shard that is whole; gone at the end
    <output>/.dermray/finished.json    what it came to
    <output>/croissant.json, README.md written last: without README.md it is not finished

Readers of data sets pass over names that begin with a dot.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dermray import storage
from dermray.publishing.plan import Shard
from dermray.publishing.wrote import Wrote

HIDDEN = ".dermray"
NOTE, CLAIM, DONE, FINISHED = (f"{HIDDEN}/{name}" for name in ("export.json", "claim", "done", "finished.json"))
CARD, CROISSANT = "README.md", "croissant.json"
READ_AT_ONCE = 16


def note_of(output: str, shard: Shard) -> str:
    """URI of a shard's note."""
    return storage.join(output, DONE, f"{shard.split}-{shard.number:06d}.json")


def done(output: str, shards: list[Shard]) -> dict[Shard, Wrote]:
    """The shards that are whole, and what was written of each."""
    there = set(storage.list_files(storage.join(output, DONE), ".json"))
    known = {note_of(output, shard): shard for shard in shards}
    notes = [uri for uri in known if uri in there]
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        return {
            known[uri]: Wrote.of_note(note)
            for uri, note in zip(notes, pool.map(storage.read_bytes, notes), strict=True)
        }


def remove_partial(output: str) -> None:
    """What a killed run was writing. In S3 there is no such thing."""
    if not storage.is_s3(output):
        storage.delete_files(storage.list_files(output, ".partial"))


def finish(output: str, croissant: bytes, card: bytes, facts: dict[str, Any]) -> None:
    """The last files, of which the card is the very last; then the notes go."""
    storage.write_bytes(storage.join(output, CROISSANT), croissant)
    storage.write_bytes(storage.join(output, FINISHED), json.dumps(facts).encode())
    storage.write_bytes(storage.join(output, CARD), card)
    storage.delete_tree(storage.join(output, DONE))


def tidy(output: str) -> None:
    """Nobody outside needs to know on which machine this was written. To be called when the claim is released."""
    claims = storage.list_files(storage.join(output, HIDDEN), below=False)
    storage.delete_files([uri for uri in claims if uri.startswith(storage.join(output, CLAIM))])
