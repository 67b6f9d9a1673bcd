"""Classifiers that answer the readers' questions on the same images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dermray import manifest, node_cache, storage
from dermray.classification.metrics import decide
from dermray.columns import batches
from dermray.manifest import Result
from dermray.reader_study.key import READERS, Key
from dermray.reader_study.questions import AI, ORIGIN, ORIGINAL, Question

TRAINED = ("classify", "sweep")
STAGES = (*TRAINED, "predict")
SCORE = "score_"
ORIGINS = {ORIGINAL: "real", AI: "synthetic"}  # as rows call them


@dataclass(frozen=True)
class Machine:
    """A classifier's answers to one of the questions."""

    name: str
    question: Question
    said: np.ndarray  # (N,) int64 numbers of the question's classes
    scores: np.ndarray  # (N, C) probabilities
    seen: bool | None  # whether its training had the study's AI images; None if nobody can say


def results(uris: Sequence[str]) -> dict[str, Result]:
    """The results by their places.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is of another stage.
    """
    found = {uri: manifest.read(uri) for uri in uris}
    for uri, result in found.items():
        if result.manifest.stage not in STAGES:
            raise ValueError(f"classifiers={uri}: result of stage {result.manifest.stage!r}, expected one of {STAGES}")
    return found


def read(found: dict[str, Result], built: Result, key: Key, asked: Sequence[Question]) -> list[Machine]:
    """Each trained classifier scores the readers' images here. Results of predict are joined by their classifier: one
    holds the originals, another one the AI images.

    Raises:
        ValueError: a classifier that answers neither question, images without a score, or images that were changed.
    """
    machines, predicted = [], dict[str, list[tuple[str, Result]]]()
    pixels: dict[int, np.ndarray] = {}
    for uri, result in found.items():
        if result.manifest.stage == "predict":
            by = result.manifest.inputs.get("classifier") or result.manifest.inputs.get("weights", uri)
            predicted.setdefault(by, []).append((uri, result))
        else:
            machines.append(_trained(uri, result, built, key, asked, pixels))
    return _told_apart(machines + [_predicted(some, key, asked) for some in predicted.values()])


def _told_apart(machines: list[Machine]) -> list[Machine]:
    """With a number where several have one name: runs/a/classify and runs/b/classify."""
    names = [machine.name for machine in machines]
    return [
        replace(machine, name=f"{machine.name} {number}") if names.count(machine.name) > 1 else machine
        for number, machine in enumerate(machines, start=1)
    ]


def _trained(
    uri: str, result: Result, built: Result, key: Key, asked: Sequence[Question], pixels: dict[int, np.ndarray]
) -> Machine:
    """A model at work on the images that readers saw."""
    from dermray.classification import saved
    from dermray.classification.batches import InMemory
    from dermray.classification.training import probabilities

    loaded = saved.load(node_cache.local_copy(storage.join(result.data, "model")))
    if loaded.image_size not in pixels:
        pixels[loaded.image_size] = _pixels(built, key, loaded.image_size)
    scores = probabilities(loaded.model, InMemory(pixels[loaded.image_size]), np.arange(len(key.images)))
    chosen = decide(scores)
    if calibration := loaded.validated.calibration:
        scores = calibration.scale(scores)
        chosen = calibration.decide(scores)
    seen = built.manifest.inputs["synthetic"] in result.manifest.inputs.values()
    return _answered(_short(uri), loaded.target.classes, scores, chosen, asked, seen)


def _pixels(built: Result, key: Key, size: int) -> np.ndarray:
    """(N, 3, S, S) uint8 of the readers' images."""
    from dermray.datasets.decode import decode, square

    shown = []
    for image in key.images:
        uri = storage.join(built.data, READERS, "images", image.image)
        data = storage.read_bytes(uri)
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise ValueError(f"{uri}: not the image that the study was built with; put it back")
        shown.append(square(decode(data), size))
    return np.array(shown)


def _predicted(some: list[tuple[str, Result]], key: Key, asked: Sequence[Question]) -> Machine:
    """Of results of one classifier; images are found by their sample ids."""
    wanted, rows = [image.sample_id for image in key.images], dict[str, dict[str, Any]]()
    for _, result in some:
        files = storage.list_files(storage.join(result.data, "rows"), ".parquet")
        with storage.open_parquet(files[0]) as first:
            names = [name for name in first.schema_arrow.names if name.startswith(SCORE)]
        for batch in batches(result.row_files(), ["sample_id", "label", "status", *names], pc.field("status") == "ok"):
            chosen = batch.filter(pc.is_in(batch["sample_id"], pa.array(wanted)))
            rows |= {row["sample_id"]: row for row in chosen.to_pylist()}
    uris = " and ".join(uri for uri, _ in some)
    if missing := [name for name in wanted if name not in rows]:
        raise ValueError(
            f"classifiers={uris}: {len(missing)} of the study's {len(wanted)} images have no score; give the results "
            "of predict for both, the originals' rows and the synthetic ones"
        )
    classes = tuple(name.removeprefix(SCORE) for name in names)
    scores = np.array([[rows[name][column] for column in names] for name in wanted])
    chosen = np.array([classes.index(rows[name]["label"]) for name in wanted])
    return _answered(_short(some[0][0]), classes, scores, chosen, asked, None)


def _answered(
    name: str, classes: Sequence[str], scores: np.ndarray, chosen: np.ndarray, asked: Sequence[Question],
    seen: bool | None,
) -> Machine:  # fmt: skip
    """Its answers among the classes that readers chose from: where it has more and prefers another one, the most
    probable of these.

    Raises:
        ValueError: it does not tell the question's classes apart.
    """
    for question in asked:
        words = [ORIGINS[c] for c in question.classes] if question.column == ORIGIN else list(question.classes)
        if set(words) <= set(classes):
            places = [list(classes).index(word) for word in words]
            among = scores[:, places]
            number_of = {place: number for number, place in enumerate(places)}
            said = [number_of.get(place, int(row.argmax())) for place, row in zip(chosen.tolist(), among, strict=True)]
            return Machine(name, question, np.array(said), among, seen)
    raise ValueError(
        f"classifiers={name}: tells {', '.join(classes)} apart; expected {', '.join(asked[0].classes)}, or real and "
        "synthetic (column=origin)"
    )


def _short(uri: str) -> str:
    return storage.normalise(uri).rpartition("/")[2]
