"""All that a card and Croissant metadata say of an export."""

import time
from dataclasses import dataclass
from functools import cached_property

from dermray.manifest import Result
from dermray.publishing.attribution import MADE, ORIGINS, Origin
from dermray.publishing.conversations import MESSAGES
from dermray.publishing.licences import parts
from dermray.publishing.plan import NAMES
from dermray.publishing.settings import PublishConfig
from dermray.publishing.survey import Survey
from dermray.publishing.wrote import Wrote


@dataclass(frozen=True)
class Facts:
    """Of one export."""

    title: str
    config: PublishConfig
    result: Result
    ingest: Result | None  # that split these rows, if it is known
    survey: Survey
    wrote: Wrote
    columns: list[str]  # beside the image
    groups: int  # leak groups
    pattern: str  # of a split's files

    @property
    def rows(self) -> int:
        """Images."""
        return self.survey.rows.total()

    @property
    def splits(self) -> dict[str, int]:
        """Images by split, as it is called outside."""
        return {NAMES[split]: number for split, number in self.survey.splits.items()}

    @property
    def spoken(self) -> bool:
        """Whether questions and answers are told."""
        return bool({MESSAGES.name, "pairs"} & set(self.columns)) and self.result.manifest.stage != "generate"

    @property
    def synthetic(self) -> int:
        """Images that a model drew."""
        return self.survey.by("origin")["synthetic",]

    @property
    def phantoms(self) -> int:
        """Images that dermray's renderer drew."""
        return self.survey.by("source")["phantom",]

    @property
    def estimated_tones(self) -> int:
        """Images whose skin tone was read from pixels."""
        return self.survey.by("skin_tone_source")["estimated",]

    @cached_property
    def licences(self) -> dict[str, int]:
        """Images by each licence that they are under, one by one."""
        counts = dict[str, int]()
        for (text,), number in self.survey.by("licence").items():
            for name in parts(text):
                counts[name] = counts.get(name, 0) + number
        return dict(sorted(counts.items()))

    @cached_property
    def origins(self) -> dict[str, tuple[Origin, int]]:
        """Data sets and how many images are theirs, by source."""
        counts = sorted((source or "unknown", number) for (source,), number in self.survey.by("source").items())
        return {source: ((ORIGINS | MADE).get(source, Origin(source, "")), number) for source, number in counts}

    @property
    def made(self) -> str:
        """Day on which the result was made: an export of the same has the same bytes on any day."""
        return time.strftime("%Y-%m-%d", time.gmtime(self.result.manifest.started))

    @property
    def notes(self) -> list[str]:
        """What whoever hands this on should know at once."""
        said = []
        if turns := self.wrote.turns.total():
            said.append(f"{turns} questions with their answers")
        if self.survey.left_out:
            said.append(
                f"{self.survey.left_out.total()} rows were left out, whose licence does not let them be handed on"
            )
        if self.config.permitted:
            said.append(f"you say that you may hand on: {', '.join(self.config.permitted)}")
        if self.wrote.positions:
            said.append(
                f"warning: {self.wrote.positions} images say in their EXIF where they were taken (GPS); if people "
                "could be found by it, remove it from the source's files and ingest again"
            )
        return said
