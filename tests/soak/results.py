"""What a finished result holds, in a form in which two runs of the same work agree, and where they differ."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Container, Iterator
from os.path import commonprefix
from typing import Any

import pyarrow.parquet as pq

from benchmarks.kill_every_family import headed
from dermray import manifest, storage
from dermray.manifest import Result

# Names of what tells of a run, not of its result: times, hosts, curves by the clock. Only that they exist is compared.
OF_A_RUN = re.compile(r"tensorboard/|page\.html$|summary\.json$|README\.md$|progress\.txt$|^tune/$")
# Likewise, and places; rows that a dead engine had been asked about; kinds of lost notes, of which S3 has one more.
OF_A_FIELD = re.compile(
    r"second|time|start|duration|peak|memory|resumed|attempts|image_file|rows_asked_again|notes_lost"
)
TUNE = "tune/"  # Ray Tune's own files: named by the time, and those of each start in a directory of its own
# A claim that was given back stays; a number or a hash in a name differs from run to run.
CLAIM = re.compile(r"claim(\.\d+)?$")
NUMBERS = re.compile(r"[0-9A-Za-z]*\d[0-9A-Za-z]*")
LONG_NUMBER = re.compile(r"\d+\.\d{7,}(e[-+]?\d+)?")
IDS = ("plan_id", "answer_id", "sample_id")  # the first that rows have names them


def held(result: Result, wanted: Container[str] | None = None) -> dict[str, str]:
    """A digest of each thing in a result: the counts, the rows of a directory, any other file, by its name.

    Args:
        wanted: names of things to read, and of no others. Default: all.
    """
    counts = result.manifest.rows
    assert counts.rows_in == counts.ok + counts.rejected + counts.failed, f"{result.uri}: counts do not add up"
    found = {"manifest: rows": counts.model_dump_json(), "manifest: metrics": _text(result.manifest.metrics)}
    files: dict[str, list[str]] = {}
    for file in storage.list_files(result.data):
        files.setdefault(_name(file.removeprefix(f"{result.data}/")), []).append(file)
    return found | {name: _held(name, some) for name, some in files.items() if wanted is None or name in wanted}


def _name(file: str) -> str:
    """Of a file below a result's data, or of all rows beside it."""
    if file.startswith(TUNE):
        return TUNE
    if file.endswith(".parquet"):
        return f"rows in {file.rpartition('/')[0] or '.'}/"
    return NUMBERS.sub("#", file) if OF_A_RUN.search(file) else file


def _held(name: str, files: list[str]) -> str:
    if name.startswith("rows in "):
        return _rows(files)
    return "there" if OF_A_RUN.search(name) else _digest(_content(name, storage.read_bytes(files[0])))


def differences(expected: dict[str, str], found: dict[str, str]) -> Iterator[str]:
    """A line for each thing that one of two results has and the other lacks, or has otherwise."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            yield f"{name}: missing"
        elif name not in expected:
            yield f"{name}: left over"
        elif expected[name] != found[name]:
            yield f"{name}: {_from_where_they_differ(found[name], expected[name])}"


def _from_where_they_differ(found: str, expected: str) -> str:
    begin = max(0, len(commonprefix([found, expected])) - 100)
    return f"{found[begin : begin + 300]}, expected {expected[begin : begin + 300]}"


def beside(uri: str, result: Result) -> list[str]:
    """Files of an output that belong neither to its result nor to the claim."""
    files = [file.removeprefix(f"{uri}/") for file in storage.list_files(uri)]
    own = f"{result.manifest.data}/"
    return [name for name in files if name != "manifest.json" and not name.startswith(own) and not CLAIM.match(name)]


def committed(data: str) -> Iterator[tuple[str, int]]:
    """For each checkpoint of Ray Data's below unfinished data: where it is, and how many ids it calls written that are
    in no row. Reads ids first: a block is noted after it was written."""
    files = storage.list_files(data, ".parquet")
    for place in sorted({file.rpartition("/checkpoint/")[0] for file in files if "/checkpoint/" in file}):
        mine = [file for file in files if file.startswith(f"{place}/checkpoint/") and ".pending." not in file]
        noted = set[str]()
        for file in mine:
            noted |= set(_readable(file, None))
        rows = [file for file in storage.list_files(data, ".parquet") if file.startswith(f"{place}/rows/")]
        if noted and rows:
            written = {name for file in rows for name in _readable(file, IDS)}
            yield place, len(noted - written)


def unfinished(uri: str) -> list[str]:
    """URIs of the directories of data below an output."""
    return [storage.join(uri, name) for name in storage.list_directories(uri) if name.startswith("data-")]


def finished(uri: str) -> Result | None:
    """The result, where its manifest is there."""
    return manifest.read(uri) if storage.exists(storage.join(uri, "manifest.json")) else None


def _rows(files: list[str]) -> str:
    """A digest of all rows whatever their order and their files, and how many there are and how many twice."""
    digests, ids = list[str](), Counter[str]()
    for file in files:
        system, path = storage.filesystem(file)
        for row in pq.ParquetFile(system.open_input_file(path)).read().to_pylist():
            kept = {name: value for name, value in row.items() if not OF_A_FIELD.search(name)}
            digests.append(_digest(repr(kept).encode()))
            name = next((column for column in IDS if column in row), None)
            ids[str((row.get("captioner"), row[name])) if name else digests[-1]] += 1
    double = sum(number > 1 for number in ids.values())
    return f"{len(digests)} rows, {double} ids twice, {_digest(''.join(sorted(digests)).encode())}"


def _readable(file: str, columns: tuple[str, ...] | None) -> list[str]:
    """The ids in a file, of the first of these columns or of the only one; none where it is gone or not yet whole."""
    system, path = storage.filesystem(file)
    try:
        with system.open_input_file(path) as source, pq.ParquetFile(source) as parquet:
            names = parquet.schema_arrow.names
            name = next((column for column in columns if column in names), None) if columns else names[0]
            return parquet.read([name])[name].to_pylist() if name else []
    except (OSError, ValueError):
        return []


def _content(name: str, data: bytes) -> bytes:
    if name.endswith(".safetensors"):
        return headed(data)
    if name.endswith(".json"):
        return _text(json.loads(data)).encode()
    if name.endswith(".csv"):
        return _rounded(data.decode()).encode()
    return data


def _text(value: Any) -> str:
    """JSON without what tells of times."""
    return _rounded(json.dumps(_timeless(value), sort_keys=True, default=str))


def _rounded(text: str) -> str:
    """Numbers to six digits: sums over blocks of rows end otherwise in the tenth where blocks come in another order."""
    return LONG_NUMBER.sub(lambda number: f"{float(number[0]):.6g}", text)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(inner) for name, inner in value.items() if not OF_A_FIELD.search(name)}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
