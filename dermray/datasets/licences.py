"""Whether the licences of images allow commercial use, by one table that a person can review: licences.yaml."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Self

import yaml
from pydantic import Field, model_validator

from dermray.config import Config, ConfigError, HowFast
from dermray.datasets.cells import plain

ANY_USE, PER_IMAGE, UNKNOWN = "any use", "per image", "unknown"
ALSO = " AND "  # between the licences of what a synthetic image was made from
Found = Mapping[tuple[str, str | None], int | None]  # (whose, licence) -> images, None where nobody counted


class CommercialUse(Config):
    """Refuse images whose licences do not allow commercial use."""

    commercial_use: HowFast[bool] = Field(False, description="refuse images whose licence does not allow it")
    commercial_licences: HowFast[list[str]] = Field(
        [], description="further licences that allow it to you: your own, or a grant, as a source's `licence` names it"
    )

    @model_validator(mode="after")
    def _meant(self) -> Self:
        given = f"commercial_licences={self.commercial_licences}"
        if self.commercial_licences and not self.commercial_use:
            raise ConfigError(f"{given}: expected commercial_use=true beside it; leave it out, or ask for that")
        if ours := [word for word in self.commercial_licences if use_of(word) not in (None, ANY_USE)]:
            raise ConfigError(
                f"{given}: {ours[0]} is {use_of(ours[0])}, for everyone; where you were granted more, give that a "
                "name of its own, as the `licence` of its source and here"
            )
        return self

    def require_commercial(self, found: Found) -> None:
        """Nothing, unless commercial use is asked for.

        Raises:
            ConfigError: some images may not be used so, or nobody knows.
        """
        if not self.commercial_use:
            return
        granted = {_key(word) for word in self.commercial_licences}
        lines = [_refusal(*what, number, granted) for what, number in found.items()]
        if refused := sorted(filter(None, lines)):
            raise ConfigError(
                f"commercial_use=true: {'; '.join(refused)}. Leave these sources out; or, where you were granted more, "
                "give that licence a name, as the `licence` of the source and in commercial_licences"
            )


def of_result(uri: str, licences: Iterable[str]) -> Found:
    """What a manifest says, as `require_commercial` takes it."""
    return {(uri, licence): None for licence in licences} or {(uri, None): None}


def of_source(given: Mapping[str, Any]) -> Found:
    """The licence of a source of an ingest's config, where that is known before its rows are read."""
    name, known = str(given.get("source")), _table()["sources"]
    whose = str(given.get("name") or name)
    if "licence" in (given.get("columns") or {}):
        return {}
    if word := given.get("licence"):
        return {(whose, str(word)): None}
    return {} if known.get(name) == PER_IMAGE else {(whose, known.get(name)): None}


def _refusal(whose: str, licence: str | None, number: int | None, granted: set[str]) -> str | None:
    """Why a source's images may not be used commercially, in words; None if they may."""
    words = [] if not licence or licence == UNKNOWN else licence.split(ALSO)
    why = [(word, use_of(word)) for word in words if _key(word) not in granted and use_of(word) != ANY_USE]
    if words and not why:
        return None
    said = ", ".join(f"{word} ({use or 'a licence that licences.yaml does not know'})" for word, use in why)
    images = "" if number is None else f"{number} images of "
    return f"{images}{whose}: {said or 'no licence is stated'}"


def use_of(word: str) -> str | None:
    """What the table says of a licence; None of one that it does not know."""
    use: str | None = _table()["licences"].get(_key(word))
    return use


def _key(word: str) -> str:
    return plain(word).replace(" ", "-")


@cache
def _table() -> dict[str, dict[str, Any]]:
    found = yaml.safe_load(files(__package__).joinpath("licences.yaml").read_text())
    return {"licences": {_key(word): use for word, use in found["licences"].items()}, "sources": found["sources"]}
