import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from dermray.config import ConfigError
from dermray.serving import keys as keys_module
from dermray.serving.keys import SCOPES, Key, Keys, digest, keys_from_environment, make

VARIABLES = ("DERMRAY_API_KEYS", "DERMRAY_API_KEYS_FILE", "DERMRAY_API_KEYS_OFF")


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def written(path: Path, *keys: Mapping[str, object]) -> Path:
    path.write_text(json.dumps({"keys": keys}))
    os.utime(path, ns=(0, os.stat(path).st_mtime_ns + 1))
    return path


def test_plain_keys_may_do_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMRAY_API_KEYS", " first , second,")
    keys = keys_from_environment()
    first = keys.find("first")
    assert first is not None and first.scopes == SCOPES and not first.expired and "first" not in repr(first)
    assert keys.find("second") and keys.find("third") is None and keys.find("") is None and keys.find("\udcff") is None


def test_no_keys_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DERMRAY_API_KEYS", " ,")
    with pytest.raises(ValueError, match="neither DERMRAY_API_KEYS nor DERMRAY_API_KEYS_FILE is set"):
        keys_from_environment()
    monkeypatch.setenv("DERMRAY_API_KEYS_OFF", "yes")
    with pytest.raises(ValueError, match="expected `loopback`"):
        keys_from_environment()
    monkeypatch.setenv("DERMRAY_API_KEYS_OFF", "loopback")
    assert keys_from_environment().off


def test_a_key_that_is_made_is_found_by_the_line_printed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = make("clinic: app", ["classify"], days=30, images_per_day=7)
    given, line = said.splitlines()[0], said.splitlines()[-1]
    file = tmp_path / "keys.yaml"
    file.write_text(f"keys:\n{line}\n")
    assert given not in file.read_text() and len(given) > 43
    monkeypatch.setenv("DERMRAY_API_KEYS_FILE", str(file))
    key = keys_from_environment().find(given)
    assert key is not None and (key.name, key.images_per_day, key.requests_per_minute) == ("clinic: app", 7, None)
    assert key.may("classify") and not key.may("generate") and not key.expired
    assert key.expires is not None and timedelta(29) < key.expires - datetime.now(UTC) < timedelta(31)
    assert yaml.safe_load(line)[0]["hash"] == digest(given)


@pytest.mark.parametrize("days", [0, -1, 36_501, 10**12])
def test_a_key_that_could_never_be_used_or_ends_after_all_dates_is_not_made(days: int) -> None:
    with pytest.raises(ConfigError, match=f"days={days}: expected 1 to 36500"):
        make("app", ["classify"], days=days)


def test_admin_may_do_everything_and_yesterday_is_over() -> None:
    admin = Key(name="a", hash=digest("a"), scopes=("admin",), expires=datetime.now(UTC) - timedelta(seconds=1))
    assert admin.may("generate") and admin.expired


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hash": "plain key"}, "hash"),
        ({"scopes": ["draw"]}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"expires": "2027-01-01"}, "expires"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_file_that_says_what_no_key_is(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    file = written(tmp_path / "keys.yaml", {"name": "a", "hash": digest("a")} | changes)
    with pytest.raises(ConfigError, match=rf"keys\.0\.{named}"):
        Keys([], file)


def test_names_and_hashes_stand_once(tmp_path: Path) -> None:
    same = {"name": "a", "hash": digest("a")}
    with pytest.raises(ConfigError, match="name 'a' stands there twice"):
        Keys([], written(tmp_path / "keys.yaml", same, same))
    with pytest.raises(ConfigError, match="not found|no such|missing"):
        Keys([], tmp_path / "none.yaml")


def test_a_file_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "LOOK_AGAIN", 0.0)
    file = written(tmp_path / "keys.yaml", {"name": "a", "hash": digest("a")})
    keys = Keys([], file)
    assert keys.find("a") and not keys.find("b")
    written(file, {"name": "b", "hash": digest("b")})
    assert not keys.find("a") and keys.find("b"), "a key that was taken out is refused"
    file.write_text("keys: [half")
    assert keys.find("b"), "a file that is no file leaves what was known"
    file.unlink()
    assert keys.find("b")
