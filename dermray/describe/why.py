"""Why the images of a leak group are in one: in words, from its rows and from the pictures shown."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from dermray.describe.clusters import Cluster
from dermray.describe.pictures import Alike, Picture, alike

MOST = 8  # images of a group that are shown
Row = dict[str, Any]
UNTOLD = (
    "What joins the rest is not told by the columns or by these pictures: a chain through images that are not shown, a "
    "rejected row that belonged to both, or a link by other means than a fingerprint."
)


@dataclass(frozen=True)
class Explained:
    """A group as the page shows it."""

    cluster: Cluster
    shown: list[Row]
    reasons: list[str]
    doubts: list[str]  # that a person should look at


def shown(cluster: Cluster) -> list[Row]:
    """Some of its rows, at first one of each part that patients and lesions hold together."""
    depth = max(map(len, cluster.parts))
    order = [part[place] for place in range(depth) for part in cluster.parts if place < len(part)]
    return [cluster.rows[place] for place in order[:MOST]]


def explained(cluster: Cluster, pictures: dict[str, Picture | str], copies: dict[str, list[Row]]) -> Explained:
    """Say why.

    Args:
        copies: all rows of an image, by its sample_id, rejected ones among them.
    """
    rows = shown(cluster)
    told, joined = _by_ids(rows)
    doubts = list[str]()
    for measured, i, j in _look_alikes(rows, pictures):
        if joined[i] != joined[j]:  # once it is told why they are together
            told.append(f"{i + 1} and {j + 1} look alike: {measured}")
            joined[joined == joined[j]] = joined[i]
        for name, what in (("malignant", "labels"), ("entity", "entities")):
            if len({rows[i][name], rows[j][name]} - {None}) > 1:
                doubts.append(f"{i + 1} and {j + 1} look alike and have different {what}")
    for i, row in enumerate(rows):
        for copy in copies.get(row["sample_id"], []):
            if copy["status"] != "ok":
                told.append(f"{i + 1} is, byte for byte, also {copy['source']} {copy['source_id']} ({copy['reason']})")
    if len(set(joined)) > 1:
        told.append(UNTOLD)
    doubts += [f"lesion {lesion} is benign in one row and malignant in another"
               for lesion in cluster.contradicting_lesions]  # fmt: skip
    return Explained(cluster, rows, told, doubts)


def _look_alikes(rows: list[Row], pictures: dict[str, Picture | str]) -> list[tuple[Alike, int, int]]:
    """Pairs of near duplicates, the nearest first."""
    found = list[tuple[Alike, int, int]]()
    for (i, one), (j, other) in combinations(enumerate(rows), 2):
        first, second = pictures.get(one["sample_id"]), pictures.get(other["sample_id"])
        if isinstance(first, Picture) and isinstance(second, Picture) and (measured := alike(first, second)).near:
            found.append((measured, i, j))
    return sorted(found, key=lambda pair: (pair[0].bits, pair[0].difference, pair[1:]))


def _by_ids(rows: list[Row]) -> tuple[list[str], np.ndarray]:
    """What patients and lesions say, and a number for each row that rows joined by them share."""
    told, joined = list[str](), np.arange(len(rows))
    for name, what in (("lesion_id", "lesion"), ("patient_id", "patient")):
        members: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            if row[name] is not None:
                members.setdefault(row[name], []).append(place)
        for value, places in members.items():
            if len(places) > 1:
                told.append(f"{_listed(places)}: same {what}, {value}")
                joined[np.isin(joined, joined[places])] = joined[places[0]]
    return told, joined


def _listed(places: list[int]) -> str:
    numbers = [str(place + 1) for place in places]
    return f"{', '.join(numbers[:-1])} and {numbers[-1]}"
