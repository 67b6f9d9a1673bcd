"""The rows of a shard with their images, one after the other: few images are held at once."""

from collections.abc import Iterator
from typing import Any

from dermray.picked import images
from dermray.publishing.conversations import MESSAGES, READ, messages, standing
from dermray.publishing.plan import Shard
from dermray.publishing.selection import Selection
from dermray.records import sample_id

Row = dict[str, Any]


def rows_of(shard: Shard, selection: Selection, columns: list[str]) -> Iterator[Row]:
    """Rows with `columns`, `sample_id` and `image`.

    Raises:
        RuntimeError: rows are missing, are there twice, or an image is not the one that its name says.
    """
    names, seen = list(dict.fromkeys(["sample_id", *columns])), set[str]()
    read = [
        name for name in dict.fromkeys([*names, *(READ if MESSAGES.name in names else ())]) if name != MESSAGES.name
    ]
    for part in shard.parts:
        table, placed = selection.of_part(part, shard.split, read), set[int]()
        for place, image in images(table):
            if place in placed:  # a rejected copy of the same bytes in the same file
                continue
            placed.add(place)
            row = table.slice(place, 1).to_pylist()[0]
            name = row["sample_id"]
            if name in seen:
                raise RuntimeError(f"{part[0]}: image {name} is there twice with status ok; make the result again")
            if sample_id(image) != name:
                raise RuntimeError(f"{part[0]}: the bytes of image {name} are others by now; make the result again")
            seen.add(name)
            if MESSAGES.name in names:
                row[MESSAGES.name] = messages(row)
            if "pairs" in names:
                row["pairs"] = standing(row["pairs"])
            yield {column: row[column] for column in names} | {"image": image}
    if len(seen) != shard.rows:
        raise RuntimeError(f"{len(seen)} rows of {shard.rows} were found; the result changed, start again")
