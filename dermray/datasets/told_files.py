"""What small files beside a config say: the user's own words and lists, which change while their path stays."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from dermray import storage
from dermray.datasets.known_duplicates import KnownDuplicates


def digests(sources: Sequence[Mapping[str, Any]], known: Sequence[KnownDuplicates]) -> dict[str, str]:
    """SHA-256 of each table of labels and list of known duplicates, so that an ingest with more of them is other work.

    A source's images and its own table are as large as the data, and not looked at again.

    Raises:
        FileNotFoundError, OSError: such a file is not there, or cannot be read.
    """
    files = {f"sources.{n}.more_labels": given.get("more_labels") for n, given in enumerate(sources)}
    files |= {f"known_duplicates.{n}": each.path for n, each in enumerate(known)}
    return {name: _digest(str(path)) for name, path in files.items() if path}


def _digest(path: str) -> str:
    return hashlib.sha256(storage.read_bytes(storage.normalise(path))).hexdigest()
