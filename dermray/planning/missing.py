"""What a plan's configs name and what is not here yet: results, weights, hub ids, keys of endpoints, data sets."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dermray import weights
from dermray.backbones.pretrained import HUB
from dermray.doctor.config import UNSET, named, there, unset_advice, unset_keys
from dermray.planning import datasets


@dataclass(frozen=True)
class Missing:
    """A thing that a stage will look for.

    Args:
        field: of the stage's config. state: what was found. advice: what to do. source: of an ingest, if it is a data
            set. fetched: whether it comes by itself when it is used.
    """

    stage: str
    field: str
    place: str
    state: str
    advice: str
    source: str | None = None
    fetched: bool = False


def missing(stage: str, config: BaseModel, is_planned: Callable[[str], bool]) -> Iterator[Missing]:
    """Of one stage; asks no network.

    Args:
        stage: its name in the plan. is_planned: whether a place is another planned stage's result.
    """
    for field, place in named(config):
        if not is_planned(place) and (lack := _lack(stage, field, place)):
            yield lack
    for field, variable in unset_keys(config):
        yield Missing(stage, field, variable, UNSET, unset_advice(variable))
    yield from missing_data(stage, config)


def missing_data(stage: str, config: BaseModel) -> Iterator[Missing]:
    """Of an ingest's data sets and the lists beside them what is not there; nothing of any other stage."""
    given = config.model_dump(mode="json")
    for number, each in enumerate(given.get("sources", ())):
        for place in datasets.lacking(each):
            yield _data_set(stage, f"sources.{number}.path", each, place)
        if (labels := each.get("more_labels")) and not datasets.is_there({"path": labels}):
            yield Missing(stage, f"sources.{number}.more_labels", labels, "not there", "correct the path")
    for number, each in enumerate(given.get("known_duplicates", ())):
        if not datasets.is_there(each):
            yield _data_set(stage, f"known_duplicates.{number}.path", each, each["path"])


def _lack(stage: str, field: str, place: str) -> Missing | None:
    name = place.removeprefix(HUB)
    if weights.may_change(name):
        if copied(name):
            return None
        return Missing(stage, field, place, "a hub id, of which no copy is here", FETCHED, fetched=True)
    finding = there(field, place)
    return None if finding.level == "ok" else Missing(stage, field, place, "not there", finding.advice)


FETCHED = "it is fetched when it is used, by every node; gated ones need HF_TOKEN and their terms accepted"


def copied(hub_id: str) -> bool:
    """Whether this machine's cache of the hub has a copy, be it whole or not."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = repo_folder_name(repo_id=hub_id, repo_type="model")
    return (Path(constants.HF_HUB_CACHE) / folder / "snapshots").is_dir()


def _data_set(stage: str, field: str, given: dict[str, Any], place: str) -> Missing:
    name = str(given.get("source") or "a list of known duplicates")
    known = datasets.published().get(name)
    advice = f"download it from {known.place}; layout: {known.layout}" if known else "correct the path"
    return Missing(stage, field, place, f"{name}: not there", advice, source=name)
