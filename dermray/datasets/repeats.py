"""Images that came several times, byte for byte: one copy stays, unless they contradict each other."""

from collections import defaultdict
from typing import Any

from dermray.datasets.cells import plain
from dermray.records import SPLITS

Row = dict[str, Any]
# Of these two the copies must agree wherever they come from. A source's own words and ids mean something within it.
EVERYWHERE, WITHIN_A_SOURCE = ("entity", "malignant"), ("diagnosis", "patient_id")
KNOWN = (*EVERYWHERE, *WITHIN_A_SOURCE, "lesion_id")


def reject_repeats(rows: list[Row]) -> None:
    """Of usable rows with the same bytes one stays: that of the official test split before val, train and none, then
    the one that knows most. Where they contradict each other none does."""
    copies: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["status"] == "ok":
            copies[row["sample_id"]].append(row)
    for same in copies.values():
        if contradicting := contradictions(same):
            reason = f"same image under conflicting labels: {', '.join(contradicting)}"
            for row in same:
                row |= {"status": "rejected", "reason": reason}
        else:
            kept = max(same, key=_worth)
            for row in same:
                if row is not kept:
                    row |= {"status": "rejected", "reason": "exact duplicate of another file"}


def contradictions(same: list[Row]) -> list[str]:
    """Columns in which copies of an image say different things. Null says nothing."""
    everywhere = [name for name in EVERYWHERE if len({row[name] for row in same} - {None}) > 1]
    by_source: dict[str, list[Row]] = defaultdict(list)
    for row in same:
        by_source[row["source"]].append(row)
    within = [n for n in WITHIN_A_SOURCE if any(len(_words(own, n)) > 1 for own in by_source.values())]
    return within + everywhere


def _words(rows: list[Row], name: str) -> set[str]:
    return {plain(row[name]) if name == "diagnosis" else row[name] for row in rows if row[name] is not None}


def _worth(row: Row) -> tuple[int, int]:
    """An image of an official test split stays there; otherwise what is known counts. Of equals the first stays."""
    official = row.get("split")
    return SPLITS.index(official) + 1 if official else 0, sum(row[name] is not None for name in KNOWN)
