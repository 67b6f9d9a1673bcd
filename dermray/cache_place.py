"""Where a node keeps what it would otherwise fetch again."""

import os
from pathlib import Path


def root() -> Path:
    """DERMRAY_CACHE, a directory on a disk of the node's own."""
    return Path(os.environ.get("DERMRAY_CACHE", "~/.cache/dermray")).expanduser()
