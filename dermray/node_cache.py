"""Copies of S3 objects on this node: made once for all its processes, removed when others need the room.

    <cache>/<name>-<key>/          a copy; only a whole one has this name
    <cache>/<name>-<key>.partial/  one that is being made or removed
    <cache>/<name>-<key>.lock      held shared by every process that uses the copy, alone by one that makes or removes
                                   it; says how many bytes it takes; changed last when it was last asked for
    <cache>/room                   locked by a process that counts these bytes and takes some

`key` is a hash of the URI and of the names, sizes and ETags of one listing, so that objects replaced under the same URI
are another copy. Locks are flock's, which end with the process that holds them, however it ends: what has no holder is
a leftover. DERMRAY_CACHE says where copies are kept: a disk of the node's own; DERMRAY_CACHE_GB how much of it they
may take, by default nine tenths. Of the copies that no process uses those go first that were asked for longest ago.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dermray import s3, s3_transfers, storage
from dermray.cache_place import root as root
from dermray.s3 import Stored

SHARE_OF_DISK = 0.9
PAUSE = 0.05  # seconds between tries for a lock that another process has for a moment only
TRIES = 1200  # a minute of them

_in_use: dict[Path, int] = {}  # open lock files of the copies that this process uses: until it ends
_in_use_guard = threading.Lock()


class NoRoom(OSError):
    """A copy does not fit on this node."""


def local_copy(uri: str, wanted: Callable[[str], bool] | None = None) -> Path:
    """A directory itself where it is local; otherwise its copy, which stays until this process ends.

    One listing, and nothing else where the copy is there.

    Args:
        wanted: of names below `uri` those to copy, if not all.

    Raises:
        FileNotFoundError: nothing is there. NoRoom: no room for it on this node.
    """
    if not storage.is_s3(uri):
        return Path(uri)
    objects = [stored for stored in s3.files(uri) if wanted is None or wanted(stored.name)]
    if not objects:
        raise FileNotFoundError(f"{uri}: no such directory, or none of its files is here")
    return _kept(uri, objects)


def local_file(uri: str) -> Path:
    """A file itself where it is local; otherwise its copy, which stays until this process ends. One HEAD."""
    if not storage.is_s3(uri):
        return Path(uri)
    stored = s3.stored(uri)
    return _kept(uri.rpartition("/")[0], [stored]) / stored.name


@contextlib.contextmanager
def in_use(uri: str) -> Iterator[Path]:
    """As `local_file`, for a while: afterwards the copy may be removed when others need the room. One HEAD.

    Raises:
        FileNotFoundError: nothing is there. NoRoom: no room for it on this node.
    """
    if not storage.is_s3(uri):
        yield Path(uri)
        return
    stored = s3.stored(uri)
    copy, lock = _used(uri.rpartition("/")[0], [stored])
    try:
        yield copy / stored.name
    finally:
        os.close(lock)


@contextlib.contextmanager
def read_once(uri: str) -> Iterator[Path]:
    """As `local_file`, for one that is read from end to end and not again: its copy is removed afterwards."""
    if not storage.is_s3(uri):
        yield Path(uri)
        return
    try:
        with in_use(uri) as file:
            yield file
    finally:
        _remove(file.parent)


def _kept(uri: str, objects: list[Stored]) -> Path:
    """The copy, in use until this process ends."""
    copy, lock = _used(uri, objects)
    with _in_use_guard:
        if copy in _in_use:
            os.close(lock)
        else:
            _in_use[copy] = lock
    return copy


def _used(uri: str, objects: list[Stored]) -> tuple[Path, int]:
    """The copy, made if it is not there, and its open lock file, which is held shared."""
    copy = root() / _name(uri, objects)
    root().mkdir(parents=True, exist_ok=True)
    for _ in range(TRIES):
        lock = _lock(_lock_file(copy), fcntl.LOCK_SH)  # waits while another process makes the copy
        assert lock is not None
        if _is_whole(copy, objects):
            os.utime(lock)
            return copy, lock
        os.close(lock)
        lock = _lock(_lock_file(copy), fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is None:  # somebody else found it missing too
            time.sleep(PAUSE)
            continue
        try:
            if not _is_whole(copy, objects):
                _make(uri, objects, copy, lock)
        finally:
            os.close(lock)
    raise OSError(f"{copy}: files are missing, and a process uses the others; end it, or choose another DERMRAY_CACHE")


def _name(uri: str, objects: list[Stored]) -> str:
    listing = [[stored.name, stored.size, stored.etag] for stored in sorted(objects)]
    key = hashlib.sha256(json.dumps([uri, listing]).encode()).hexdigest()[:20]
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', uri.removeprefix('s3://'))[-60:].lstrip('.')}-{key}"


def _is_whole(directory: Path, objects: list[Stored]) -> bool:
    """Whether every file is there at its size: cleaners of temporary directories take single files."""
    try:
        return all((directory / stored.name).stat().st_size == stored.size for stored in objects)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _make(uri: str, objects: list[Stored], copy: Path, lock: int) -> None:
    """The copy. Its lock is held alone."""
    partial = _partial(copy)
    _clear(copy)
    _sweep()
    needed = sum(stored.size for stored in objects)
    try:
        _take_room(uri, needed, lock)
        s3_transfers.download(uri, objects, partial)
        if not _is_whole(partial, objects):
            raise OSError(f"{uri}: its copy at {partial} is not as long as it; is the disk in order?")
        partial.rename(copy)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # somebody else filled the disk meanwhile
            raise _no_room(uri, needed, shutil.disk_usage(root()).free) from None
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not copy.is_dir():
            os.ftruncate(lock, 0)  # the room is given back


def _take_room(uri: str, needed: int, lock: int) -> None:
    """Note in a copy's lock file the bytes that it will take, after copies that no process uses made room for them.

    Raises:
        NoRoom: they could not.
    """
    room = _lock(root() / "room", fcntl.LOCK_EX)  # of two that come at a time, the second sees what the first took
    assert room is not None
    try:
        os.ftruncate(lock, 0)
        copies = _copies()
        unwritten = sum(size - _size(_partial(copy)) for copy, size in copies.items() if not copy.is_dir())
        removable = [copy for copy in copies if copy.is_dir()]

        def left() -> float:
            return min(_limit() - sum(copies.values()), shutil.disk_usage(root()).free - unwritten)

        if needed > left() + sum(copies[copy] for copy in removable):
            raise _no_room(uri, needed, left())  # nothing is removed in vain
        while needed > left():
            if not removable:
                raise _no_room(uri, needed, left())
            oldest = removable.pop(0)
            if _remove(oldest):
                del copies[oldest]
        os.pwrite(lock, str(needed).encode(), 0)
    finally:
        os.close(room)


def _copies() -> dict[Path, int]:
    """Bytes of each copy that is there or being made, the one first that was asked for longest ago."""
    asked: dict[Path, tuple[float, int]] = {}
    for lock in root().glob("*.lock"):
        with contextlib.suppress(FileNotFoundError):  # another process has just removed it
            asked[lock.with_suffix("")] = (lock.stat().st_mtime, int(lock.read_text() or 0))
    return {copy: size for copy, (_, size) in sorted(asked.items(), key=lambda item: item[1])}


def _no_room(uri: str, needed: int, left: float) -> NoRoom:
    return NoRoom(
        f"{uri}: {needed / 1e9:.3g} GB are to be copied to {root()}, where {max(left, 0) / 1e9:.3g} GB are left, and "
        "to remove the copies that no process uses is not enough; make room, name a directory on a larger disk in "
        "DERMRAY_CACHE, or raise DERMRAY_CACHE_GB if it is set"
    )


def _limit() -> float:
    """Bytes that all copies may take together.

    Raises:
        ValueError: DERMRAY_CACHE_GB is no size.
    """
    given = os.environ.get("DERMRAY_CACHE_GB")
    if not given:
        return SHARE_OF_DISK * shutil.disk_usage(root()).total
    try:
        limit = float(given) * 1e9
    except ValueError:
        limit = 0
    if not limit > 0:
        raise ValueError(f"DERMRAY_CACHE_GB={given}: expected gigabytes, a number above 0")
    return limit


def _size(directory: Path) -> int:
    """Bytes of the files in it, also while another process removes them."""
    size = 0
    for folder, _, files in os.walk(directory):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                size += os.lstat(os.path.join(folder, file)).st_size
    return size


def _remove(copy: Path) -> bool:
    """Remove a copy, or what is left of one; False where a process uses or makes it."""
    lock = _lock(_lock_file(copy), fcntl.LOCK_EX | fcntl.LOCK_NB)
    if lock is None:
        return False
    try:
        _clear(copy)
        _lock_file(copy).unlink(missing_ok=True)  # who waits for this lock sees it, and takes the next one
    finally:
        os.close(lock)
    return True


def _sweep() -> None:
    """Remove what killed processes left behind: all that is no whole copy, and locked by nobody."""
    for left in {left.with_suffix("") for kind in ("*.partial", "*.lock") for left in root().glob(kind)}:
        if not left.is_dir():
            _remove(left)


def _clear(copy: Path) -> None:
    """Remove all but the lock, in an order in which no half of it ever has a whole copy's name."""
    partial = _partial(copy)
    shutil.rmtree(partial, ignore_errors=True)
    if copy.exists():
        copy.rename(partial)
        shutil.rmtree(partial, ignore_errors=True)


def _lock(path: Path, how: int) -> int | None:
    """The open lock file, locked; None where that would mean waiting and `how` has LOCK_NB."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            os.close(file)
            return None
        if _is_open_file(file, path):
            return file
        os.close(file)  # it was removed with its copy while we waited: the next one counts


def _is_open_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _lock_file(copy: Path) -> Path:
    return copy.with_name(f"{copy.name}.lock")


def _partial(copy: Path) -> Path:
    return copy.with_name(f"{copy.name}.partial")
