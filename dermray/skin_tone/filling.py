"""Skin tones for rows whose metadata have none: what is estimated is told apart, what cannot be is counted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from dermray.records import AT

if TYPE_CHECKING:
    from dermray.skin_tone.estimate import Estimate

NOT_ESTIMATED = "skin tone not estimated"  # how such an issue of a row begins


@dataclass(frozen=True)
class Filling:
    """Fills in nothing where there is no `estimate`. It travels to workers."""

    estimate: "Callable[[Image.Image], Estimate] | None" = None

    def __call__(self, row: dict[str, Any], image: Image.Image) -> dict[str, Any]:
        """The columns of a usable row that change, given its decoded image. Its Fitzpatrick type is none of them: that
        is for people to say."""
        if self.estimate is None or row.get("skin_tone") is not None:
            return {}
        tone, reason = self.estimate(image)
        if tone is not None:
            return {"skin_tone": tone, "skin_tone_source": "estimated"}
        issue = f"{NOT_ESTIMATED}: {reason}{AT}{row['source_id']}"
        return {"cell_issues": [*(row.get("cell_issues") or []), issue]}


AS_TOLD = Filling()
