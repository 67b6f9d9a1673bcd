"""Licences that bind a result: of the images that went in, of the weights that made it, of who answered."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dermray import storage, weights
from dermray.backbones.pretrained import HUB
from dermray.config import Config, read_file, validate
from dermray.datasets import licences as of_images
from dermray.doctor.config import named
from dermray.result_fields import named_results
from dermray.vlm.tuning.licence import licence_of

MODELS = ("captioner", "base", "weights", "start_from")  # fields that name a result or weights
UNSTATED = "not stated: look it up"


class Weights(Config):
    """Published weights, as weights.yaml has them."""

    licence: str | None
    use: str | None
    parameters: float | None = None
    image_tokens: int | None = None
    token_side: int | None = None
    source: str


@dataclass(frozen=True)
class Licence:
    """Of something that goes into a run.

    Args:
        of: what is licensed. licence: its name, None where nobody states one. use: what it says of commercial use.
    """

    of: str
    licence: str | None
    use: str

    @classmethod
    def of_images(cls, of: str, word: str | None) -> "Licence":
        """Of a licence's word in rows or in a source's table."""
        return cls(of, word, (of_images.use_of(word) if word else None) or UNSTATED)


def brought(config: BaseModel, is_result: Callable[[str], bool]) -> Iterator[Licence]:
    """What a stage's config brings in that is not another's result.

    Args:
        is_result: whether a place holds or will hold a result, whose licences are inherited.
    """
    data = config.model_dump(mode="json")
    for given in data.get("sources", ()):
        yield from _of_source(given)
    results = dict(named_results(config))
    for field, place in named(config):
        wanted_rows = field in results and field.rpartition(".")[2] not in MODELS
        if wanted_rows or is_result(place):
            continue
        given = data.get("licence") if field == "base" else None
        yield Licence(place, str(given), UNSTATED) if given else of_weights(place)
    yield from _elsewhere(data)


def inputs(config: BaseModel) -> Iterator[str]:
    """Places of the results that a config names."""
    yield from (place for _, place in named_results(config))


def of_weights(place: str) -> Licence:
    """By the table, or by what lies beside them."""
    if known := known_weights(place):
        return Licence(place, known.licence, known.use or UNSTATED)
    directory = Path(storage.normalise(place)) if not storage.is_s3(place) else None
    if directory is not None and not weights.is_hub_id(place) and (said := licence_of(directory)):
        return Licence.of_images(place, said)
    return Licence(place, None, UNSTATED)


def known_weights(place: str | None) -> Weights | None:
    """What weights.yaml says of a place."""
    return _table().get((place or "").removeprefix(HUB))


@cache
def _table() -> dict[str, Weights]:
    with as_file(files(__package__).joinpath("weights.yaml")) as path:
        return {place: validate(Weights, given, f"weights.yaml: {place}") for place, given in read_file(path).items()}


def _of_source(given: dict[str, Any]) -> Iterator[Licence]:
    whose = str(given.get("name") or given.get("source"))
    said = of_images.of_source(given)
    if not said:
        yield Licence(whose, "one of its own for each image", "known when the rows are read")
    for (of, word), _ in said.items():
        yield Licence.of_images(of, word)


def _elsewhere(data: Any) -> Iterator[Licence]:
    """Weights of timm's own tags, and endpoints."""
    if isinstance(data, list):
        for item in data:
            yield from _elsewhere(item)
    if not isinstance(data, dict):
        return
    if data.get("weights") == "timm" and data.get("name"):
        import timm

        tag = timm.get_pretrained_cfg(data["name"])
        word = tag.license if tag else None
        yield Licence(f"timm {data['name']}", word, _use(word))
    if data.get("base_url"):
        yield Licence(f"{data.get('model')} at {data['base_url']}", "the provider's terms", UNSTATED)
    for value in data.values():
        yield from _elsewhere(value)


def _use(word: str | None) -> str:
    free = ("apache-2.0", "mit", "bsd-3-clause")
    return of_images.ANY_USE if word in free else (of_images.use_of(word) if word else None) or UNSTATED
