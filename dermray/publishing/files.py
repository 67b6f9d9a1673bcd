"""Files of an export: each is whole when it has its name, and what is known of it is noted."""

import contextlib
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dermray import storage


class Written(NamedTuple):
    """A file in its place."""

    name: str  # relative to the export
    bytes: int
    sha256: str


@contextlib.contextmanager
def placed(output: str, name: str) -> Iterator[Path]:
    """A local file to write, which then goes to its place: what a killed task wrote has another name, or none."""
    place = storage.join(output, name)
    if storage.is_s3(output):
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder, "file")
            yield local
            system, path = storage.filesystem(place)
            with local.open("rb") as source, system.open_output_stream(path) as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
        return
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    partial = Path(f"{place}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        os.replace(partial, place)
    finally:
        partial.unlink(missing_ok=True)


def told(name: str, local: Path) -> Written:
    """What is known of a local file that is written to the end."""
    with local.open("rb") as file:
        return Written(name, local.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())
