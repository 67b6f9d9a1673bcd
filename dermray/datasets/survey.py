"""What an ingest says of its sources and rows: columns not read, cells that made no sense, missing and strange ids."""

import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray.columns import batches
from dermray.datasets import scales
from dermray.exactly_once import hashes
from dermray.records import AT, kind
from dermray.skin_tone.filling import NOT_ESTIMATED

COUNTED = ["patient_id", "lesion_id", "diagnosis", "entity", "malignant", "skin_tone", "age", "sex", "site", "licence"]
EXAMPLES = 3  # of each kind of issue
KINDS = 50  # of issues in the manifest
# An id that holds more than this share of its source's rows, and so many of them, may stand for "nobody".
SUSPICIOUS_SHARE, SUSPICIOUS_ROWS = 0.05, 20
PLACEHOLDER = re.compile(r"0+|9{3,}|x{2,}|-\d+|test|todo|tbd|dummy|anonym(ous|ized|ised)?|no ?(id|name)|patient|lesion")
PLACES = 1 << 22  # of the table that ids are counted in first, 4 bytes each
PLACEHOLDER_ROWS = 3  # a real id may look so; one that recurs is worth a look


def survey_rows(rows: str) -> dict[str, Any]:
    """Facts about a stage's Parquet rows, read in batches of which few are held.

    Returns:
        missing: source -> {rows, column -> rows without a value}; cell_issues: kind -> {count, examples};
        suspicious_ids: a text for each; scales: source -> {shorter side in px -> usable images}.
    """
    missing: dict[str, Counter[str]] = defaultdict(Counter)
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    issues, examples = Counter[str](), defaultdict[str, list[str]](list)
    for batch in batches(rows, [*scales.COLUMNS, *COUNTED, "cell_issues"]):
        for source, images in scales.scales(batch).items():
            sizes[source].update(images)
        for source, counts in missing_values(pa.Table.from_batches([batch])).items():
            missing[source].update(counts)
        for issue in pc.list_flatten(batch["cell_issues"]).to_pylist():
            issues[kind(issue)] += 1
            if len(examples[kind(issue)]) < EXAMPLES:
                examples[kind(issue)].append(issue.partition(AT)[2])
    return {
        "missing": {source: dict(counts) for source, counts in sorted(missing.items())},
        "scales": {source: scales.in_order(images) for source, images in sorted(sizes.items())},
        "cell_issues": {name: {"count": n, "examples": examples[name]} for name, n in issues.most_common(KINDS)},
        "suspicious_ids": suspicious_ids(rows, "patient_id") + suspicious_ids(rows, "lesion_id"),
    }


def missing_values(table: pa.Table) -> dict[str, dict[str, int]]:
    """source -> its rows, and of each column that lacks values how many rows do."""
    nulls = [(name, "count", pc.CountOptions(mode="only_null")) for name in COUNTED]
    counted = table.group_by("source").aggregate([([], "count_all"), *nulls])
    return {
        row["source"]: {"rows": row["count_all"]} | {n: row[f"{n}_count"] for n in COUNTED if row[f"{n}_count"]}
        for row in counted.to_pylist()
    }


def suspicious_ids(rows: str, column: str) -> list[str]:
    """Ids of patients or lesions that hold more rows than one should, or look like placeholders and recur.

    There may be as many ids as rows. So a first reading counts them by a hash in a table of fixed size, where some
    share a place, and a second counts exactly those whose place holds enough.
    """
    totals, places = Counter[str](), np.zeros(PLACES, np.int32)
    for batch in batches(rows, ["source", column]):
        totals.update(batch["source"].to_pylist())
        np.add.at(places, _places(batch[column].drop_null()), 1)
    counts = Counter[tuple[str, str]]()
    for batch in batches(rows, ["source", column], pc.field(column).is_valid()):
        numbers = places[_places(batch[column])]
        often = numbers >= PLACEHOLDER_ROWS
        names = zip(*(each.to_pylist() for each in batch.filter(pa.array(often)).columns), strict=True)
        for (source, name), most in zip(names, numbers[often].tolist(), strict=True):
            if _is_suspicious(source, name, most, totals[source]):
                counts[source, name] += 1
    found = [
        (count, f"{column} {name!r} holds {count} of {totals[source]} rows")
        for (source, name), count in counts.items()
        if count >= PLACEHOLDER_ROWS and _is_suspicious(source, name, count, totals[source])
    ]
    return [text for _, text in sorted(found, reverse=True)[:20]]


def _places(ids: pa.Array) -> np.ndarray:
    return (hashes(ids) % PLACES).astype(np.int64)


def _is_suspicious(source: str, name: str, count: int, total: int) -> bool:
    crowded = count >= SUSPICIOUS_ROWS and count > SUSPICIOUS_SHARE * total
    return crowded or PLACEHOLDER.fullmatch(name.removeprefix(f"{source}/").strip().lower()) is not None


def messages(facts: dict[str, Any]) -> list[str]:
    """What a person should read of the rows' facts."""
    lines = []
    for source, counts in facts["missing"].items():
        nulls = ", ".join(f"{n} {name}" for name, n in counts.items() if name != "rows")
        lines.append(f"{source}: {counts['rows']} rows; without a value: {nulls or 'none'}")
        if not sum(facts["scales"].get(source, {}).values()):
            lines.append(
                f"WARNING: none of the {counts['rows']} rows of {source} is usable: see the reasons below, and "
                "whether its path, images and extension are right"
            )
    lines += scales.messages(facts["scales"])
    for name, issue in facts["cell_issues"].items():
        told = "images" if name.startswith(NOT_ESTIMATED) else "cells make no sense"
        lines.append(f"{issue['count']} {told}: {name}; for example {issue['examples'][0]}")
    for text in facts["suspicious_ids"]:
        lines.append(f"WARNING: {text}; if it stands for nobody, add it to the source's `missing`")
    return lines


def reading_messages(facts: dict[str, Any]) -> list[str]:
    """What a person should read of how a source was opened."""
    tables = [facts[name] for name in ("table", "labels", "metadata", "lesions", "supplement") if name in facts]
    lines = [f"{facts['source']}: {_of_table(table)}" for table in tables]
    if told := facts.get("descriptions"):
        text = f"{told['path']}: {told['files']} JSON files, one per image; {told['other_files']} other files not read"
        lines.append(f"{facts['source']}: {text}")
    if told := facts.get("hdf5"):
        lines.append(f"{facts['source']}: {told['path']}: {told['images']} images, read where they lie")
    if told := facts.get("samples"):
        text = f"{told['path']}: {told['samples']} samples in {told['archives']} files, read where they lie"
        text += f"; columns not read: {', '.join(told['columns_not_read']) or 'none'}"
        lines.append(f"{facts['source']}: {text}; {told['other_files']} other files not read")
    if unknown := facts.get("folders_of_unknown_label"):
        lines.append(
            f"WARNING: {facts['source']}: its table of labels does not know the folders {_counts(unknown)}: their "
            "files are rejected; is path the folder above the classes? `more_labels` adds names of your own"
        )
    if unnamed := facts.get("classes_of_unknown_label"):
        lines.append(
            f"WARNING: {facts['source']}: malignant_classes and benign_classes say nothing of {_counts(unnamed)}: "
            "these rows have no label; name the classes in one of the two, or say other_classes_are: benign"
        )
    for label in ("benign", "malignant"):
        if assumed := facts.get(f"classes_taken_as_{label}"):
            lines.append(f"{facts['source']}: other_classes_are: {label}, so {_counts(assumed)} are {label}")
    return lines


def _counts(words: dict[str, int]) -> str:
    """Words and their numbers, the most frequent first."""
    ranked = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{word} ({count})" for word, count in ranked[:20]) + (", ..." if len(ranked) > 20 else "")


def _of_table(table: dict[str, Any]) -> str:
    text = f"{table['path']}: {table['rows']} rows, {table['encoding']}, {table['delimiter']}"
    text += f"; columns not read: {', '.join(table['columns_not_read']) or 'none'}"
    for name in ("rows_without_label", "labels_without_row", "rows_without_line", "lines_without_row"):
        text += f"; {table[name]} {name.replace('_', ' ')}" if table.get(name) else ""
    return text
