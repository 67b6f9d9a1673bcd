"""What a vision-language model is tuned on: an image, questions about it, the answers it shall give; and how a row
becomes that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from dermray.captioning import prompts
from dermray.captioning.answers import Attributes, phrase
from dermray.config import Config, ConfigError

PAIRS, ATTRIBUTES = "pairs", "attributes"
# What each attribute of `phrase` is read from: what is known, never what a captioner said.
ANNOTATED = ("true_asymmetry", "true_border_irregular", "true_colours", "skin_tone")


class Unusable(ValueError):
    """A conversation that cannot be trained on; the message is the row's reason."""


IGNORED = -100  # the label that transformers' losses leave out


class Tokenised(NamedTuple):
    """A conversation's text in a model's chat template and its tokens; the image is still its placeholder."""

    text: str
    ids: list[int]
    labels: list[int]  # IGNORED but where the model has to say something

    @property
    def first(self) -> int:
        """Where the first answer begins."""
        return next(place for place, label in enumerate(self.labels) if label != IGNORED)


@dataclass(frozen=True)
class Conversation:
    """Questions and answers about one image, which comes first.

    Args:
        sample_id: of the row. image: encoded bytes. turns: (question, answer) each. tokenised: if that was done
            already.
    """

    sample_id: str
    image: bytes
    turns: tuple[tuple[str, str], ...]
    tokenised: Tokenised | None = None


class AnswersConfig(Config):
    """Where the answers stand in the rows, and what is asked."""

    answers: str = Field(
        PAIRS,
        description="pairs (from instruct or the prompt set clinical-qa), attributes (the annotations, in the words of "
        "the prompt set abc) or the name of a text column, such as caption, answer or an expert's description",
    )
    questions: list[str] = Field(
        [],
        description="for a column or attributes: each image gets one, chosen by its id; empty: the prompt set's",
    )
    prompt_set: str = Field("abc", description=f"prompt set that words the question: one of {prompts.NAMES}")
    turns: Literal["together", "separate"] = Field(
        "together", description="an image's pairs as one conversation, or one conversation per pair"
    )

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.prompt_set not in prompts.NAMES:
            raise ConfigError(f"prompt_set={self.prompt_set!r}: expected one of {prompts.NAMES}")
        if self.answers == PAIRS:
            if self.questions:
                raise ConfigError("questions: pairs bring their own; expected none, or answers of a column")
        elif not self.questions and prompts.prompt_set(self.prompt_set).schema is not None:
            raise ConfigError(
                f"prompt_set={self.prompt_set!r}: it asks for JSON, which answers={self.answers!r} is not; "
                "expected another prompt set, or questions"
            )
        told = () if self.questions else prompts.prompt_set(self.prompt_set).needs
        if self.answers == ATTRIBUTES and "skin_tone" in told:
            raise ConfigError(
                f"prompt_set={self.prompt_set!r}: its question names the skin tone that answers={ATTRIBUTES!r} shall "
                "give, so the model would learn to copy it; expected a set that tells none, such as abc, or questions"
            )
        return self

    @property
    def columns(self) -> list[str]:
        """What rows must have for this."""
        return {PAIRS: [PAIRS], ATTRIBUTES: list(ANNOTATED)}.get(self.answers, [self.answers])


def conversations_of(row: Mapping[str, Any], config: AnswersConfig) -> list[Conversation]:
    """What there is to learn from a row: one conversation, or several of one turn each.

    Raises:
        Unusable: the row's status is not ok, or it has no image or no answer; the message is the reason.
    """
    if row.get("status", "ok") != "ok":
        raise Unusable(f"row {row['status']}")
    if not row.get("image"):
        raise Unusable("no image")
    turns = _turns(row, config)
    image, sample = bytes(row["image"]), str(row["sample_id"])
    groups = [turns] if config.turns == "together" else [(turn,) for turn in turns]
    return [Conversation(sample, image, group) for group in groups]


def attributes_of(row: Mapping[str, Any]) -> Attributes:
    """What is annotated of a row's lesion; unknown attributes are null. A skin tone estimated from pixels is no
    annotation, as in `dermray vqa`."""
    asymmetry, border, colours, tone = (row.get(name) for name in ANNOTATED)
    if row.get("skin_tone_source") == "estimated":
        tone = None
    return Attributes(asymmetry, border, tuple(colours if colours is not None else ()), tone)


def _turns(row: Mapping[str, Any], config: AnswersConfig) -> tuple[tuple[str, str], ...]:
    if config.answers == PAIRS:
        return _pairs(row)
    if config.answers == ATTRIBUTES:
        known = attributes_of(row)
        if known.asymmetry is None and known.border_irregular is None and not known.colours:
            raise Unusable("no annotated attribute")
        answer = phrase(known)
    else:
        answer = _text(row.get(config.answers))
    if not answer:
        raise Unusable(f"empty {config.answers}")
    return ((_question(row, config), answer),)


def _pairs(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Those that were not rejected and say something."""
    pairs = row.get(PAIRS)
    if pairs is None or not len(pairs):
        raise Unusable("no pairs")
    kept = [pair for pair in pairs if (pair.get("status") or "ok") == "ok"]
    if not kept:
        raise Unusable("every pair rejected")
    said = [(_text(pair.get("question")), _text(pair.get("answer"))) for pair in kept]
    turns = tuple((question, answer) for question, answer in said if question and answer)
    if not turns:
        raise Unusable("pairs without question or answer")
    return turns


def _question(row: Mapping[str, Any], config: AnswersConfig) -> str:
    if not config.questions:
        return prompts.render(config.prompt_set, dict(row))
    draw = int(str(row["sample_id"])[:8], 16)  # equal ids always get equal questions
    return config.questions[draw % len(config.questions)]


def _text(value: Any) -> str:
    """Empty for null and for what is no text, as NaN."""
    return value.strip() if isinstance(value, str) else ""
