"""Which runs are shown, their finished stages, and which of their files a browser may have.

Pages of dermray hold their pictures, so the files right below a result's data are all that is needed: never a folder
below it, such as `rows`, `model`, or the `sealed` one of a reader study.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from dermray import manifest, storage
from dermray.manifest import Result

SUFFIXES = {"html": "text/html; charset=utf-8", "png": "image/png", "svg": "image/svg+xml", "json": "application/json"}
FILE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}\.(?:{'|'.join(SUFFIXES)})")
DATA = re.compile(r"data-[A-Za-z0-9-]+")  # what stages name it; a manifest that was tampered with could name any place
OF_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.html|summary\.json")  # beside the stages: reports
RUN, RESULT, STAGE = "run", "result", "stage-"  # the part of a run that a file belongs to


@dataclass(frozen=True)
class Part:
    """A stage's result in a run; without one where its manifest cannot be read."""

    name: str
    result: Result | None


def names(runs: tuple[str, ...]) -> dict[str, str]:
    """The runs by names for people and URLs: of their directories, with a number where two have the same."""
    found: dict[str, str] = {}
    for uri in runs:
        base = re.sub(r"[^A-Za-z0-9._-]", "-", uri.rstrip("/").rpartition("/")[2]).lstrip(".-") or "run"
        name, number = base, 1
        while name in found:
            number += 1
            name = f"{base}-{number}"
        found[name] = uri
    return found


def require(runs: tuple[str, ...]) -> tuple[str, ...]:
    """Their places as replicas find them, who may work elsewhere; raises FileNotFoundError where there is none."""
    places = tuple(dict.fromkeys(storage.normalise(run) for run in runs))
    for given, place in zip(runs, places, strict=False):
        if not storage.exists(place):
            raise FileNotFoundError(
                f"runs: {given}: no such directory; give directories or s3:// URIs of finished runs"
            )
    return places


def parts(run: str) -> list[Part]:
    """Its finished stages, the earliest first; or the one result that it is."""
    if storage.exists(storage.join(run, "manifest.json")):
        return [_part(RESULT, run)]
    below = [(name, storage.join(run, name)) for name in storage.list_directories(run)]
    there = [(name, place) for name, place in below if storage.exists(storage.join(place, "manifest.json"))]
    found = [_part(f"{STAGE}{name}", place) for name, place in there]
    return sorted(found, key=lambda part: part.result.manifest.started if part.result else 0.0)


def files(run: str, part: Part | None) -> list[str]:
    """Names of the files that a browser may have, of a part or of the run itself."""
    place, wanted = (run, OF_RUN) if part is None else (_data(part), FILE)
    if place is None or (part is None and storage.exists(storage.join(run, "manifest.json"))):
        return []  # beside a result's own manifest lies nothing for readers
    found = [uri.rpartition("/")[2] for uri in storage.list_files(place, below=False)]
    return sorted(name for name in found if wanted.fullmatch(name) and _inside(storage.join(place, name), place))


def read(run: str, part: str, file: str) -> tuple[bytes, str]:
    """A file's bytes and media type.

    Raises:
        FileNotFoundError: no such file, or none that a browser may have.
    """
    place, wanted = (run, OF_RUN) if part == RUN else (_data(_named(run, part)), FILE)
    if place is None or not wanted.fullmatch(file):
        raise FileNotFoundError(file)
    uri = storage.join(place, file)
    if not _inside(uri, place):
        raise FileNotFoundError(file)
    return storage.read_bytes(uri), SUFFIXES[file.rpartition(".")[2]]


def _inside(uri: str, place: str) -> bool:
    """Whether it is no link to somewhere else."""
    return storage.is_s3(uri) or Path(uri).resolve().is_relative_to(Path(place).resolve())


def _named(run: str, part: str) -> Part:
    if part == RESULT:
        return _part(part, run)
    directory = part.removeprefix(STAGE)
    if not part.startswith(STAGE) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", directory):
        raise FileNotFoundError(part)
    return _part(part, storage.join(run, directory))


def _part(name: str, place: str) -> Part:
    try:
        return Part(name, manifest.read(place))
    except ValueError:  # of another version, or damaged
        return Part(name, None)


def _data(part: Part) -> str | None:
    if part.result is None or not DATA.fullmatch(part.result.manifest.data):
        return None
    return part.result.data
