"""API keys: `Authorization: Bearer <key>`, kept as hashes, with scopes, an expiry and quotas.

A hash is plain SHA-256. Slow, salted hashes protect words that people choose, which can be guessed; a key of ours is
256 random bits, which no list holds and nobody can try, and it is checked on every request, where a slow hash would
cost more than the work.
"""

import hashlib
import hmac
import json
import logging
import os
import secrets
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from pydantic import AwareDatetime, Field, model_validator

from dermray.config import Config, ConfigError, load, validate

KEYS_VARIABLE = "DERMRAY_API_KEYS"
FILE_VARIABLE = "DERMRAY_API_KEYS_FILE"
OFF_VARIABLE = "DERMRAY_API_KEYS_OFF"  # "loopback": no key, for clients of this machine only
PREFIX = "dermray_"  # by which scanners of repositories find a key that was committed
MOST_DAYS = 36_500  # of a key that is made with an expiry
LOOK_AGAIN = 1.0  # seconds between looks at whether the file changed
Scope = Literal["generate", "classify", "caption", "browse", "study", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

logger = logging.getLogger("ray.serve")


class Key(Config):
    """A key, without the key itself."""

    name: str = Field(max_length=64, description="in logs and metrics")
    hash: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(SCOPES, min_length=1, description="what it may do; admin may do everything")
    expires: AwareDatetime | None = Field(None, description="such as 2027-01-31T00:00:00Z")
    requests_per_minute: int | None = Field(None, ge=1)
    images_per_day: int | None = Field(None, ge=1, description="drawn and scored together, by UTC days")

    def may(self, scope: Scope) -> bool:
        """Whether it has a scope."""
        return scope in self.scopes or "admin" in self.scopes

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= datetime.now(UTC)


ANYBODY = Key(name="anybody", hash=f"sha256:{'0' * 64}")  # who asks where keys are off


class KeyFile(Config):
    """The file that DERMRAY_API_KEYS_FILE names, YAML or JSON."""

    keys: tuple[Key, ...]

    @model_validator(mode="after")
    def _each_once(self) -> "KeyFile":
        for what in ("name", "hash"):
            values = [getattr(key, what) for key in self.keys]
            if twice := {value for value in values if values.count(value) > 1}:
                raise ConfigError(f"keys: {what} {min(twice)!r} stands there twice; keep one")
        return self


def digest(key: str) -> str:
    """A key as the file has it."""
    return f"sha256:{hashlib.sha256(key.encode('utf-8', 'surrogateescape')).hexdigest()}"


def new_key() -> str:
    """256 random bits, in letters that need no quotes."""
    return PREFIX + secrets.token_urlsafe(32)


class Keys:
    """The keys that may use this service. Those of a file follow it: a key that is taken out is refused a second later.

    Raises:
        ConfigError: the file is missing or says what no key is.
    """

    def __init__(self, plain: list[str], file: Path | None = None, off: bool = False) -> None:
        self.off, self._file = off, file
        self._plain = [Key(name=f"{KEYS_VARIABLE} {i}", hash=digest(key)) for i, key in enumerate(plain, 1)]
        self._stamp, self._looked = self._changed(), time.monotonic()
        self._of_file: tuple[Key, ...] = load(KeyFile, file).keys if file else ()

    def find(self, given: str) -> Key | None:
        """The key that was given, also when it has expired."""
        self._follow_file()
        wanted, found = digest(given), None
        for key in (*self._plain, *self._of_file):  # all of them, so that the time taken tells nothing about which
            if hmac.compare_digest(wanted, key.hash):
                found = key
        return found

    def _follow_file(self) -> None:
        if self._file is None or time.monotonic() - self._looked < LOOK_AGAIN:
            return
        self._looked = time.monotonic()
        if (stamp := self._changed()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._of_file = load(KeyFile, self._file).keys
        except (ConfigError, OSError) as error:  # half-written, say: the service goes on with what it knew
            logger.error("keys: %s was not read, the keys before it stay valid: %s", self._file, error)

    def _changed(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat() if self._file else None
        except OSError:
            return None
        return found and (found.st_mtime_ns, found.st_size, found.st_ino)


def keys_from_environment() -> Keys:
    """Keys of DERMRAY_API_KEYS (comma-separated, all scopes) and of the file that DERMRAY_API_KEYS_FILE names.

    Raises:
        ValueError: none set: a service without keys must not start by accident. ConfigError: see `Keys`.
    """
    if off := os.environ.get(OFF_VARIABLE):
        if off != "loopback":
            raise ValueError(f"{OFF_VARIABLE}={off!r}: expected `loopback`, the only place where keys may be off")
        logger.warning("KEYS ARE OFF (%s=loopback): every program of this machine may use this service", OFF_VARIABLE)
        return Keys([], off=True)
    plain = [key.strip() for key in os.environ.get(KEYS_VARIABLE, "").split(",") if key.strip()]
    file = os.environ.get(FILE_VARIABLE)
    if not plain and not file:
        raise ValueError(
            f"neither {KEYS_VARIABLE} nor {FILE_VARIABLE} is set: give the API keys that may use this service, "
            "separated by commas, or a file of their hashes (`dermray key NAME` makes a line of it)"
        )
    return Keys(plain, Path(file) if file else None)


def make(
    name: str, scopes: list[str], days: int | None = None, requests_per_minute: int | None = None,
    images_per_day: int | None = None,
) -> str:  # fmt: skip
    """What `dermray key` prints: a new key, which nothing else ever shows, and its entry for the file.

    Raises:
        ConfigError: a scope that there is not, or a number out of range.
    """
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise ConfigError(f"days={days}: expected 1 to {MOST_DAYS}; without it the key never expires")
    given = new_key()
    expires = None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)
    fields = {
        "name": name, "hash": digest(given), "scopes": scopes, "expires": expires and expires.isoformat(),
        "requests_per_minute": requests_per_minute, "images_per_day": images_per_day,
    }  # fmt: skip
    key = validate(Key, fields, where="key")
    return (
        f"{given}\n^ the key: hand it over now, it is shown once and kept nowhere.\n"
        f"Its entry, below `keys:` in the file that {FILE_VARIABLE} names:\n{line_of(key)}"
    )


def line_of(key: Key) -> str:
    """A key as an entry of the file's `keys`: one line of YAML."""
    fields = key.model_dump(mode="json", exclude_none=True)
    fields["scopes"] = f"[{', '.join(fields['scopes'])}]"
    return "  - {" + ", ".join(f"{name}: {_text(value)}" for name, value in fields.items()) + "}"


def _text(value: object) -> str:
    text = str(value)
    return text if text.startswith("[") or isinstance(value, int) else json.dumps(text)
