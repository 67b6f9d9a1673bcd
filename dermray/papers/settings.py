"""What a comparison with a paper is asked for."""

from typing import Annotated, Literal

from pydantic import Field

from dermray.config import Config, HowFast
from dermray.papers.differences import Scale
from dermray.papers.ours import READ
from dermray.result_fields import ResultOf

BEHIND = ("caption", "train")  # they hold no number of a paper, and tell of which data and generator another result is
TAKEN = (*READ, *BEHIND)


class ComparePaperConfig(Config):
    """Which paper, and which results of one run."""

    output: str
    paper: Literal["glide_ham10000", "dermdit", "dermaflux", "dermasynth"]
    scale: Scale = Field(
        description="of the run: paper, or nano where models are small and learned for minutes, so that nothing is "
        "comparable"
    )
    results: HowFast[dict[str, Annotated[str, ResultOf(*TAKEN)]]] = Field(
        min_length=1,
        description="by names of yours; those that others were made from too: what they are made of is told by them",
    )
