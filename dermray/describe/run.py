"""`dermray describe RESULT`: counts, the proof that splits share nothing, and a page with pictures. Starts no Ray."""

import argparse
import json
from dataclasses import asdict, dataclass
from typing import Any

from dermray import manifest, storage
from dermray.config import ConfigError
from dermray.datasets.leaks import GROUP, Checked, Keys, checked
from dermray.describe import clusters, table
from dermray.describe.clusters import COLUMNS as SHOWN
from dermray.describe.clusters import Clusters
from dermray.describe.counts import COLUMNS, Counts, count
from dermray.describe.lines import Distinct, Lines, lines
from dermray.describe.options import FILES
from dermray.describe.page import page
from dermray.leak_mark import leak_mark
from dermray.manifest import Result
from dermray.progress import busy, watched
from dermray.row_files import RowFiles

STAGES = ("ingest", "caption", "generate")  # whose rows have these columns
PROVED = (GROUP, "patient_id", "lesion_id", "sample_id")


@dataclass(frozen=True)
class Described:
    """What was found out about a result."""

    result: Result
    counts: Counts
    lines: Lines
    proof: list[Checked]
    clusters: Clusters

    def as_json(self) -> dict[str, Any]:
        """All of it, for other programs."""
        unusable = [
            {"source": source, "status": status, "reason": reason, "rows": number}
            for (source, status, reason), number in self.counts.statuses.most_common()
            if status != "ok"
        ]
        issues = [
            {"what": what, "rows": number, "examples": self.counts.issue_examples[what]}
            for what, number in self.counts.issues.most_common()
        ]
        told = self.result.manifest
        return {
            "result": self.result.uri, "stage": told.stage, "key": told.key,
            "rows": told.rows.model_dump(include={"rows_in", "ok", "rejected", "failed"}),
            "leaking_groups": told.leaking_groups, "leaks": [asdict(one) for one in self.proof],
            "leak_groups": self.clusters.as_json(),
            **self.lines.as_json(), "unusable": unusable, "cell_issues": issues,
        }  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Print the tables, write what was asked for, and say where.

    Raises:
        FileNotFoundError, ValueError: no such result. ConfigError: a place to write that may not be written to.
        ValueError: at last, when all is written, if something lies in several splits that nobody asked to share it.
    """
    result = opened(arguments.result)
    places = _places(result, arguments)
    with watched(busy("reading the rows' columns")):
        found = described(result)
    print(table.text(found.lines, found.counts.statuses, found.proof, arguments.by_split), end="\n\n", flush=True)
    for name, place in places.items():
        storage.write_bytes(place, _WRITTEN[name](found).encode())
        print(f"{name}: {place}")
    if mark := leak_mark(found.result.manifest.leaking_groups):
        print(f"WARNING: {mark}")
        return
    for one in found.proof:
        one.require()


def opened(uri: str) -> Result:
    """A result whose rows can be described.

    Raises:
        FileNotFoundError: there is none. ValueError: of another stage, or of an earlier version of dermray.
    """
    result = manifest.read(uri)
    if result.manifest.stage not in STAGES:
        raise ValueError(
            f"{uri}: result of stage {result.manifest.stage!r}, whose rows are no images with their metadata; expected "
            f"one of {', '.join(STAGES)}"
        )
    files = result.row_files().files()
    if not files:
        raise FileNotFoundError(f"{uri}: no Parquet file there; make the result again")
    with storage.open_parquet(files[0]) as first:
        if lacking := {*COLUMNS, *SHOWN} - set(first.schema_arrow.names):
            raise ValueError(f"{uri}: an earlier version of dermray made it, without {sorted(lacking)}; make it again")
    return result


def described(result: Result) -> Described:
    """All but the page: some readings of small columns, of which one column's keys are held at a time."""
    rows, known = result.row_files(), Distinct()
    counts = count(rows)
    proof = [_proved(rows, column, known) for column in PROVED]
    found = clusters.find(rows, Keys.read(rows, GROUP).all())
    return Described(result, counts, lines(counts, known), proof, found)


def _proved(rows: RowFiles, column: str, known: Distinct) -> Checked:
    keys = Keys.read(rows, column)
    known.add(keys)
    return checked(rows, keys)


def _page(found: Described) -> str:
    return page(found.result, found.counts, found.lines, found.proof, found.clusters)


_WRITTEN = {
    "csv": lambda found: table.as_csv(found.lines),
    "json": lambda found: json.dumps(found.as_json(), indent=1),
    "page": _page,
}


def _places(result: Result, arguments: argparse.Namespace) -> dict[str, str]:
    """Where each file goes: the files that are named, or all into one directory.

    Raises:
        ConfigError: it is a place of the result's, or of another result's description.
    """
    named = {name: given for name in FILES if (given := getattr(arguments, name))}
    if named and arguments.output:
        raise ConfigError("--output: expected either this or single files (--csv, --json, --page)")
    output = storage.normalise(arguments.output or f"{result.uri.rpartition('/')[2]}-describe")
    if not named:
        _require_ours(output, result)
    places = {name: storage.normalise(given) for name, given in named.items()}
    places = places or {name: storage.join(output, file) for name, file in FILES.items()}
    for place in places.values():
        if place.startswith(f"{result.uri}/"):
            raise ConfigError(f"{place}: lies in the result, which nothing writes into; give another --output")
    return places


def _require_ours(output: str, result: Result) -> None:
    note = storage.join(output, FILES["json"])
    if storage.exists(note) and (of := json.loads(storage.read_bytes(note)).get("result")) != result.uri:
        raise ConfigError(f"{output}: describes another result, {of}; give another --output, or remove it")
