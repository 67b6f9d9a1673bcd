"""What the search for near duplicates by a network is told, and what it says. The search takes seconds to import."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from dermray.config import Config, ConfigError, HowFast
from dermray.features.settings import ExtractorConfig

EMBEDDED = "embedded"  # folder of a stage's data


class EmbeddingSearch(Config):
    """Whose features find near duplicates, and how near they must be."""

    extractor: ExtractorConfig = Field(description="any kind but judge, with its weights")
    max_distance: float = Field(
        0.12, gt=0, lt=1, description="cosine distance up to which images may be one picture: their thumbnails decide"
    )
    actors: HowFast[int] = Field(1, ge=1, description="that hold the extractor")
    cpus_per_actor: HowFast[float] = Field(1, gt=0)
    gpus_per_actor: HowFast[float] = Field(0, ge=0)

    @model_validator(mode="after")
    def _with_weights(self) -> Self:
        if self.extractor.kind == "judge":
            raise ConfigError("extractor.kind=judge: nothing has trained one yet; expected a kind that has weights")
        return self


@dataclass(frozen=True)
class Alike:
    """What was found."""

    pairs: np.ndarray  # (M, 2) uint64, hashes of the rows' names
    facts: dict[str, Any]  # images, pairs, whose weights; and of how many images not all neighbours were compared


def settled(search: EmbeddingSearch | None) -> EmbeddingSearch | None:
    """As every node opens the same extractor by it, checked before anything expensive.

    Raises:
        FileNotFoundError, ValueError, ImportError: the extractor is not there, or is another network.
    """
    if search is None:
        return None
    from dermray.features import extractor

    return search.model_copy(update={"extractor": extractor.settled(search.extractor)})


def messages(facts: dict[str, Any] | None) -> list[str]:
    """What the user should know of the search."""
    if facts is None:
        return []
    told = [f"near duplicates by embedding: {facts['pairs']} pairs among {facts['images']} images"]
    if facts["crowded"]:
        told.append(
            f"warning: {facts['crowded']} images have more neighbours within max_distance than were compared, which "
            "were the nearest: a smaller max_distance compares all"
        )
    return told
