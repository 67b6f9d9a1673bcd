"""The key: what every image is. It is sealed before anybody answers, and readers hold its hash.

readers/study.json      the commitment: SHA-256 of key.json
sealed/key.json         the key, with a random number, so that nobody finds the key by trying keys
every line of a form    `study-` and the first 16 digits of the commitment
"""

import hashlib
import json
import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dermray import storage
from dermray.manifest import Result

BUILD = "reader-study build"  # the stage whose result it is
KEY = "sealed/key.json"
READERS = "readers"  # the folder that readers get
STUDY = f"{READERS}/study.json"
FORMAT = 1


class Shown(BaseModel):
    """One image of the study."""

    model_config = ConfigDict(extra="forbid")
    image: str  # its file's name, 001.png
    sha256: str  # of that file
    truth: str  # its class
    origin: str  # AI or original
    sample_id: str
    group: str | None  # leak group of an original, caption's image of an AI image
    source: str | None


class Key(BaseModel):
    """All of them."""

    model_config = ConfigDict(extra="forbid")
    format: int = FORMAT
    column: str
    classes: list[str]
    images: list[Shown]
    nonce: str = Field(default_factory=lambda: secrets.token_hex(32))


def seal(key: Key) -> tuple[bytes, str]:
    """The key's file, and the commitment to it."""
    data = key.model_dump_json(indent=1).encode()
    return data, hashlib.sha256(data).hexdigest()


def study_of(commitment: str) -> str:
    """A study's name. It begins with letters: Excel would take some hexadecimal digits for a number."""
    return f"study-{commitment[:16]}"


def opened(built: Result) -> tuple[Key, str]:
    """A finished study's key and its name.

    Raises:
        FileNotFoundError: no key there. ValueError: it is not the key to which readers were committed.
    """
    uri = storage.join(built.data, KEY)
    if not storage.exists(uri):
        raise FileNotFoundError(f"{uri}: the study's key is not there; put it back, nothing can be analysed without it")
    data = storage.read_bytes(uri)
    found, promised = hashlib.sha256(data).hexdigest(), _promised(built)
    for place, commitment in promised.items():
        if found != commitment:
            raise ValueError(
                f"{uri}: this is not the key that was sealed when the study was built (SHA-256 {found}, {place} says "
                f"{commitment}); put the sealed file back"
            )
    return Key.model_validate_json(data), study_of(found)


def _promised(built: Result) -> dict[str, str]:
    """Commitments by where they stand."""
    promised = {"the manifest": str(built.manifest.metrics["commitment"])}
    uri = storage.join(built.data, STUDY)
    if storage.exists(uri):
        try:
            study: dict[str, Any] = json.loads(storage.read_bytes(uri))
            promised["readers/study.json"] = str(study["commitment"])
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{uri}: damaged, no longer as `reader-study build` wrote it; put it back") from None
    return promised
