"""The page of a result: its tables, splits, a contact sheet, images that belong together, what was rejected."""

from collections import Counter
from pathlib import Path
from typing import Any

from dermray import pages
from dermray.datasets.leaks import Checked
from dermray.describe import table
from dermray.describe.chosen import Row, choose, same_bytes
from dermray.describe.clusters import Cluster, Clusters
from dermray.describe.counts import MISSABLE, Counts
from dermray.describe.lines import LABELS, SIDE_NAMES, UNKNOWN, Lines
from dermray.describe.pictures import Picture, pictures
from dermray.describe.why import explained, shown
from dermray.leak_mark import leak_mark
from dermray.manifest import Result
from dermray.records import ENTITIES, SKIN_TONES

TEMPLATE = Path(__file__).parent / "page.html"
LARGEST, BY_PICTURES, BY_IDS = 6, 12, 4  # groups shown: the largest that pictures join, others of them, and other ones
ISSUES = 30  # kinds of cells that made no sense


def page(result: Result, counts: Counts, found: Lines, proof: list[Checked], clusters: Clusters) -> str:
    """As HTML, pictures inside. Reads the images that it shows and no others."""
    rows = result.row_files()
    chosen, groups = choose(rows, counts.statuses), _shown_groups(clusters)
    of_groups = [row for one in groups for row in shown(one)]
    sheets = [*chosen.by_tone.values(), *chosen.by_entity.values(), *chosen.by_reason.values()]
    listed = [row for some in sheets for row in some] + of_groups
    examples = {row["sample_id"] for some in chosen.by_reason.values() for row in some}
    copies = same_bytes(rows, {row["sample_id"] for row in of_groups} | examples - {None})
    seen = pictures(listed)
    return pages.render(
        TEMPLATE,
        title=f"What {result.uri.rpartition('/')[2]} holds",
        result=result,
        found=found,
        proof=proof,
        clusters=clusters,
        told=clusters.as_json(),
        groups=[explained(one, seen, copies) for one in groups],
        by_tone=_by_tone(chosen.by_tone, found),
        tones=[*SKIN_TONES, UNKNOWN],
        by_entity=[
            (name or UNKNOWN, chosen.by_entity[name], found.total.entities[name or UNKNOWN])
            for name in (*ENTITIES, "other", None)
            if name in chosen.by_entity
        ],
        unusable=_unusable(counts.statuses, chosen.by_reason, copies),
        issues=[(name, number, counts.issue_examples[name]) for name, number in counts.issues.most_common(ISSUES)],
        pictures={name: picture.url for name, picture in seen.items() if isinstance(picture, Picture)},
        undecodable={name: why for name, why in seen.items() if isinstance(why, str)},
        metrics=result.manifest.metrics,
        mark=leak_mark(result.manifest.leaking_groups),
        sides=SIDE_NAMES,
        missable=MISSABLE,
        short=table.SHORT,
        percent=table.percent,
        ages=table.ages,
        UNKNOWN=UNKNOWN,
    )


def _shown_groups(clusters: Clusters) -> list[Cluster]:
    """Those that pictures join first: what patients and lesions join is no news, unless they contradict themselves."""
    pictured, others = clusters.by_pictures, [one for one in clusters.found if not one.by_pictures]
    others.sort(key=lambda one: not one.contradicting_lesions)
    rest = sorted(pictured[LARGEST:], key=lambda one: one.rows[0]["sample_id"])  # hashes: a sample of them
    return pictured[:LARGEST] + rest[:BY_PICTURES] + others[:BY_IDS]


def _by_tone(chosen: dict[tuple[bool | None, str | None], list[Row]], found: Lines) -> list[tuple[str, list[Any]]]:
    """A line for each label that occurs, a cell for each tone: rows, and how many there are."""
    return [
        (name, [(chosen.get((label, tone), []), found.total.label_by_tone[name][tone or UNKNOWN])
                for tone in (*SKIN_TONES, None)])
        for label, name in LABELS.items()
        if found.total.label[name]
    ]  # fmt: skip


def _unusable(
    statuses: Counter[Any], examples: dict[tuple[str, str], list[Row]], copies: dict[str, list[Row]]
) -> list[dict[str, Any]]:
    """Reasons, the most frequent first, with the sources that they come from and some of their rows."""
    by_source: dict[tuple[str, str], Counter[str]] = {}
    for (source, status, reason), number in statuses.items():
        if status != "ok":
            by_source.setdefault((status, reason), Counter())[source] += number
    return [
        {
            "status": status,
            "reason": reason or "no reason given",
            "rows": sources.total(),
            "sources": sources.most_common(),
            "examples": [(row, _others(row, copies)) for row in examples.get((status, reason), [])],
        }
        for (status, reason), sources in sorted(by_source.items(), key=lambda item: (-item[1].total(), item[0]))
    ]


def _others(row: Row, copies: dict[str, list[Row]]) -> list[Row]:
    """Other rows of the same bytes; files without any are all alike."""
    name = (row["source"], row["source_id"])
    same = copies.get(row["sample_id"], []) if row["width"] else []
    return [other for other in same if (other["source"], other["source_id"]) != name]
