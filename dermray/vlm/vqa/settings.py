"""The vqa stage's config."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dermray import weights
from dermray.captioning.settings import RemoteConfig, Sampling, VllmConfig
from dermray.config import Config, ConfigError, HowFast
from dermray.result_fields import ResultOf
from dermray.vlm.vqa.questions import NAMES, PAIRS

Text = Literal["bleu", "rouge", "bertscore"]


class Answerer(Config):
    """A captioner to ask, and its name in tables."""

    name: str = Field(pattern=r"^[\w .:/+@-]+$", description="for example: before tuning")
    captioner: Annotated[str, ResultOf("captioner", "tune-vlm")] | None = Field(
        None, description="result of a stage that trains captioners, model directory, s3:// URI or hub id"
    )
    remote: RemoteConfig | None = Field(None, description="ask an OpenAI-compatible endpoint instead")
    engine: VllmConfig | None = Field(None, description="engine of this captioner; default: the shared engine")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.captioner is None) == (self.remote is None):
            raise ConfigError(
                f"name={self.name!r}: give either captioner (a model that vLLM hosts here) or remote (an endpoint)"
            )
        return self


class VqaConfig(Config):
    """Which images, which questions, who answers, and how answers are scored."""

    output: str
    rows: Annotated[str, ResultOf("ingest", "caption", "instruct")] = Field(
        description="result of the ingest, caption or instruct stage"
    )
    captioners: list[Answerer] = Field(
        min_length=1, description="each two of several are compared on the same questions; the first is the baseline"
    )
    split: Literal["train", "val", "test", "all"] = Field("test", description="images that no captioner learned from")
    images: int = Field(
        1000, ge=1, le=100_000, description="maximum number, chosen by sample_id; scores are held in memory"
    )
    questions: list[str] | None = Field(
        None, min_length=1, description=f"out of {NAMES}; default: describe, and all that have answers in these rows"
    )
    text_metrics: list[Text] | None = Field(
        None, description="for answers that have a reference; default: bleu and rouge if there are references"
    )
    bertscore_model: str | None = Field(None, description="directory, s3:// URI or hub id of an encoder, for bertscore")
    judge: RemoteConfig | None = Field(None, description="endpoint that grades answers against their references")
    judge_sampling: Sampling = Sampling(max_tokens=200)
    expert_grades: list[str] = Field(
        [], description="CSV files, one per expert, with the columns captioner, answer_id, grade; needs judge"
    )
    sampling: Sampling = Sampling(max_tokens=96)
    engine: VllmConfig = VllmConfig()
    image_side: int = Field(1024, ge=16, description="px; larger images are scaled down for the engine")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of leak groups, for intervals")
    examples: int = Field(12, ge=0, le=200, description="images on the page")
    seed: int = Field(0, ge=0)
    rows_per_block: HowFast[int] = Field(256, ge=1, description="rows of a block, the unit of work that a crash costs")
    max_engine_errors: HowFast[float] = Field(
        0.5, gt=0, le=1, description="the job ends if more than this share of an engine's last 64 answers are errors"
    )

    def host(self, who: Answerer) -> VllmConfig | RemoteConfig:
        """The engine that is asked for one of the captioners."""
        return who.remote or who.engine or self.engine

    @model_validator(mode="after")
    def _questions_known(self) -> Self:
        if unknown := sorted(set(self.questions or ()) - set(NAMES)):
            raise ConfigError(f"questions={unknown}: expected names out of {NAMES}")
        if len(set(self.questions or ())) < len(self.questions or ()):
            raise ConfigError(f"questions={self.questions}: expected each once")
        return self

    @model_validator(mode="after")
    def _captioners_fit(self) -> Self:
        names = [who.name for who in self.captioners]
        if len(set(names)) < len(names):
            raise ConfigError(f"captioners: names {names}; expected each once, because tables tell them apart by it")
        for who in self.captioners:
            self._can_answer(who)
        return self

    def _can_answer(self, who: Answerer) -> None:
        host = self.host(who)
        if isinstance(host, RemoteConfig):
            return
        if self.sampling.max_tokens >= host.max_model_len:
            raise ConfigError(
                f"sampling.max_tokens={self.sampling.max_tokens}: expected less than the engine's max_model_len="
                f"{host.max_model_len} for {who.name!r}, which image, question and answer share"
            )
        assert who.captioner is not None
        # a branch or tag of the hub may be other code tomorrow; a commit may not
        if host.trust_remote_code and weights.may_change(who.captioner) and not weights.is_commit(host.revision):
            raise ConfigError(
                f"engine.trust_remote_code=true: runs Python from {who.captioner}; expected engine.revision to be a "
                f"commit, 40 hex digits, got {host.revision!r}; or give a model directory"
            )

    @model_validator(mode="after")
    def _references_where_needed(self) -> Self:
        needing = [*(self.text_metrics or ()), *(["judge"] if self.judge else ())]
        if needing and self.questions is not None and PAIRS not in self.questions:
            raise ConfigError(
                f"{', '.join(needing)}: needs references, which only the question {PAIRS!r} has; got questions="
                f"{self.questions}"
            )
        if ("bertscore" in (self.text_metrics or ())) != (self.bertscore_model is not None):
            raise ConfigError(
                f"text_metrics={self.text_metrics}, bertscore_model={self.bertscore_model!r}: give both bertscore and "
                "the encoder that it compares by, or neither"
            )
        if self.expert_grades and self.judge is None:
            raise ConfigError("expert_grades: are compared with a judge's; give judge too")
        return self
