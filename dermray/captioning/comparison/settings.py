"""Which captioners are compared, on which images."""

import hashlib
import json
import re
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from dermray import storage
from dermray.captioning.audit import experts
from dermray.captioning.run import CaptionConfig
from dermray.config import Config, ConfigError, decisive, section
from dermray.result_fields import ResultOf, SectionOf

STRATA = ("malignant", "entity", "diagnosis", "modality", "skin_tone", "fitzpatrick", "sex", "site", "source", "split")
FILLED = ("output", "rows", "retry_failed")  # of CaptionConfig: not a captioner's to say
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")  # a directory's name


class CompareConfig(Config):
    """Images, captioners, and experts' answers where there are some."""

    output: str = Field(description="directory of the comparison: its images, captions and audits lie in it")
    rows: Annotated[str, ResultOf("ingest")] = Field(description="result of the ingest stage")
    captioners: dict[str, Annotated[dict[str, Any], SectionOf(CaptionConfig)]] = Field(
        description="two or more by names of yours; each has settings of the caption stage, but output and rows"
    )
    each: Annotated[dict[str, Any], SectionOf(CaptionConfig)] = Field(
        {}, description="settings of the caption stage for all that do not say otherwise"
    )
    images: int = Field(100, ge=2, le=2000, description="of different lesions; of all of them experts see captions")
    stratify_by: list[str] = Field(
        ["malignant", "skin_tone"], description=f"as many images of each combination as there are: out of {STRATA}"
    )
    expert_answers: list[str] | None = Field(
        None, description="files that experts saved from the page; default: all .json files in <output>/experts"
    )
    folds: int = Field(5, ge=2, description="of the audit's text classifier")
    seed: int = Field(0, ge=0, description="of the choice of images and of the page's columns")

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if len(self.captioners) < 2:
            raise ConfigError(f"captioners={sorted(self.captioners)}: expected two or more to compare")
        if wrong := [name for name in self.captioners if not NAME.fullmatch(name)]:
            raise ConfigError(f"captioners={wrong}: expected names of lower-case letters, digits, '.', '_' and '-'")
        if unknown := sorted(set(self.stratify_by) - set(STRATA)):
            raise ConfigError(f"stratify_by={unknown}: expected names out of {STRATA}")
        seen: dict[str, str] = {}
        for name, config in self.caption_configs().items():
            what = json.dumps(decisive(config) | dict.fromkeys(FILLED), sort_keys=True)
            if what in seen:
                raise ConfigError(
                    f"captioners.{name}: the same captioner as {seen[what]}; expected another model, prompt set or "
                    "setting that decides its answers"
                )
            seen[what] = name
        return self

    @property
    def chosen(self) -> str:
        """Where the images lie, as a result of the ingest stage."""
        return storage.join(self.output, "images")

    @property
    def answers(self) -> list[str]:
        """Files of experts' answers."""
        if self.expert_answers is not None:
            return self.expert_answers
        return sorted(storage.list_files(storage.join(self.output, "experts"), ".json"))

    @property
    def result(self) -> str:
        """Where the audit lies: another one for each set of experts' answers.

        Raises:
            FileNotFoundError, ValueError: of experts' answers.
        """
        answers = [experts.read_answers(file) for file in self.answers]
        return storage.join(self.output, f"graded-{_digest(answers)}" if answers else "audit")

    def caption_configs(self) -> dict[str, CaptionConfig]:
        """Of the caption stage, by captioner.

        Raises:
            ConfigError: wrong settings of a captioner.
        """
        found = {}
        for name, own in self.captioners.items():
            if taken := sorted(set(FILLED) & (self.each | own).keys()):
                raise ConfigError(f"captioners.{name}.{taken[0]}: leave it out, the comparison fills it in")
            filled = {"output": storage.join(self.output, "captions", name), "rows": self.chosen}
            found[name] = section(CaptionConfig, self.each | own | filled, f"captioners.{name}")
        return found


def _digest(answers: list[dict[str, Any]]) -> str:
    """Names a set of answers."""
    ordered = sorted(answers, key=lambda answer: str(answer["expert"]))
    return hashlib.sha256(json.dumps(ordered, sort_keys=True).encode()).hexdigest()[:8]
