"""Small studies: phantoms that are called entities, some of them as if a generator had drawn them."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dermray import manifest, storage
from dermray.config import validate
from dermray.manifest import Result
from dermray.reader_study import build, key
from dermray.reader_study.key import Key, Shown
from dermray.reader_study.settings import BuildConfig
from dermray.records import ENTITIES
from tests.classification import made_rows

SIDE = made_rows.SIDE


def originals(count: int, entities: Sequence[str] = ENTITIES, **changes: Any) -> list[dict[str, Any]]:
    """`count` test images of each entity, each of a lesion of its own."""
    rows = made_rows.phantoms(count * len(entities), split="test")
    for number, row in enumerate(rows):
        row |= {"entity": entities[number % len(entities)], "leak_group": f"lesion {number}"} | changes
    return rows


def synthetic(count: int, entities: Sequence[str] = ENTITIES, **changes: Any) -> list[dict[str, Any]]:
    """`count` images of each entity, each by a caption of its own."""
    rows = made_rows.phantoms(count * len(entities), seed=1, split="train", origin="synthetic", source="synthetic")
    for number, row in enumerate(rows):
        own = {"entity": entities[number % len(entities)], "leak_group": None, "prompt_sample_id": f"prompt {number}"}
        row |= own | changes
    return rows


def inputs(place: str, real: list[dict[str, Any]], drawn: list[dict[str, Any]]) -> dict[str, str]:
    """Results of the caption and the generate stage, as a config names them."""
    made_rows.result(f"{place}/caption", "caption", real)
    made_rows.generated(f"{place}/generate", drawn, trained_on="caption")
    return {"rows": f"{place}/caption", "synthetic": f"{place}/generate"}


def built(place: str, count: int = 2, **settings: Any) -> Result:
    """A study of `count` images of each entity and kind."""
    given = inputs(place, originals(count + 1), synthetic(count + 1))
    numbers = {"originals_per_class": count, "synthetic_per_class": count}
    config = given | numbers | {"output": f"{place}/study", "side": SIDE} | settings
    return build.run(validate(BuildConfig, config))


def opened(study: Result) -> Key:
    """Its key."""
    return key.opened(study)[0]


def files(study: Result) -> dict[str, bytes]:
    """What readers get, by name."""
    folder = storage.join(study.data, key.READERS)
    return {uri.removeprefix(f"{folder}/"): storage.read_bytes(uri) for uri in storage.list_files(folder)}


def right(shown: Shown) -> dict[str, str]:
    """The true answers to an image."""
    return {"entity": shown.truth, "origin": shown.origin}


def answer(study: Result, path: Path, say: Callable[[Shown], dict[str, str]] = right) -> str:
    """Fill in the CSV form, and save it in a reader's name.

    Args:
        say: of an image the cells that are written.
    """
    shown = {image.image: image for image in opened(study).images}
    lines = list(csv.DictReader(io.StringIO(files(study)["answers.csv"].decode("utf-8-sig"))))
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, lines[0].keys())
        table.writeheader()
        table.writerows(line | say(shown[line["image"]]) for line in lines)
    return str(path)


def reread(study: Result) -> Result:
    """The same result, by its manifest."""
    return manifest.read(study.uri)
