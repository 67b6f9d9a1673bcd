"""What the endpoints take and give."""

from typing import Literal

from pydantic import BaseModel, Field


class Reading(BaseModel):
    """How much of a prompt a generator reads."""

    refusal: str | None = Field(description="why nothing is drawn from it")
    unknown_words: list[str]
    warnings: list[str]


class Model(BaseModel):
    """A model that is served."""

    id: str
    task: Literal["generation", "classification", "captioning"]
    object: Literal["model"] = "model"
    created: int = Field(0, description="Unix seconds; OpenAI's clients expect it, and it is not known here")
    owned_by: str = "dermray"
    image_size: int = Field(description="px; of a captioner, the longest side that it is shown")
    sizes: list[int] = Field([], description="px, that a generator draws")
    negative_prompts: bool = Field(False, description="whether a generator can be led away from a text")
    prompt_sets: list[str] = Field([], description="by which a captioner can be asked; the first where none is named")
    licence: str | None = None
    version: str | None = Field(None, description="of the weights; with an adapter, of both")
    base: str | None = Field(None, description="of an adapter: the model that draws with it")


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """Whether the service answers."""

    status: Literal["ok"] = "ok"
