"""What a training draws now and then, so that somebody sees how far it is."""

from typing import Any

import pyarrow.compute as pc
from pydantic import BaseModel, Field

from dermray.config import Config, ConfigError
from dermray.generators.base import Request, family
from dermray.records import about, read_columns
from dermray.row_files import RowFiles

SHOWN = 60  # letters of a prompt in a picture's name
LARGEST = 2048  # px of a preview; what is larger, no family here has been trained for


class PreviewConfig(Config):
    """Which prompts, and how they are drawn. `loop.pictures_every` says how often."""

    prompts: list[str] = Field([], description="default: a training caption for each label and skin tone")
    most: int = Field(8, ge=0, description="prompts drawn; 0 for no previews")
    seeds: list[int] = Field([0], min_length=1, description="of the noise; each prompt is drawn from each")
    guidance_scale: float = Field(2.0, ge=0)
    sampling_steps: int = Field(20, ge=1, le=1000)
    size: int | None = Field(None, description="px, where the family draws any; default: the model's")
    negative_prompt: str = Field("", min_length=0, description="what guidance leads away from, where the family can")
    clip: str | None = Field(
        None,
        description="a CLIP that scores each picture: a directory, s3:// URI or hub id, such as "
        "openai/clip-vit-large-patch14",
    )
    clip_revision: str | None = None


def check_previews(config: PreviewConfig, name: str, settings: BaseModel) -> None:
    """Whether a family can draw them.

    Args:
        name: of the family. settings: its config.

    Raises:
        ConfigError: it cannot.
    """
    kind, size = family(name), config.size
    own: int = settings.image_size  # type: ignore[attr-defined]  # every family's config has one
    if size not in (None, own) and not kind.any_size:
        raise ConfigError(f"previews.size={size}: family {name} draws {own} px alone; leave it out")
    if size is not None and size != own and (not 32 <= size <= LARGEST or size % 32):
        raise ConfigError(f"previews.size={size}: expected a multiple of 32 px, at most {LARGEST}")
    if config.clip_revision and not config.clip:
        raise ConfigError(
            f"previews.clip_revision={config.clip_revision}: there is no previews.clip; give both or none"
        )
    if config.negative_prompt and not kind.negative_prompts:
        raise ConfigError(
            f"previews.negative_prompt={config.negative_prompt!r}: family {name} is guided away from no text, or not "
            "guided at all; leave it out"
        )
    if config.negative_prompt and getattr(settings, "instruction", False):
        raise ConfigError(
            f"previews.negative_prompt={config.negative_prompt!r}: model.instruction=true stands before every text, "
            "and a negative prompt must not have it; leave one of the two out"
        )
    if config.negative_prompt and config.guidance_scale <= 1:
        raise ConfigError(
            f"previews.negative_prompt={config.negative_prompt!r}: previews.guidance_scale={config.guidance_scale:g} "
            "guides nowhere; give one above 1"
        )


def preview_requests(config: PreviewConfig, rows: str | RowFiles, total: int) -> dict[str, Request]:
    """What to draw, by the name that TensorBoard shows.

    Args:
        rows: of the caption stage. total: how many rows there are.
    """
    prompts = _named(config.prompts) if config.prompts else example_prompts(rows, total) if config.most else {}
    chosen = list(prompts.items())[: config.most]
    several = len(config.seeds) > 1
    return {
        f"{name}, seed {seed}" if several else name: Request(prompt, seed, config.size, config.negative_prompt)
        for name, prompt in chosen
        for seed in config.seeds
    }


def _named(prompts: list[str]) -> dict[str, str]:
    return {f"{number}: {prompt[:SHOWN]}": prompt for number, prompt in enumerate(prompts, 1)}


def example_prompts(rows: str | RowFiles, total: int) -> dict[str, str]:
    """A caption of the train split for each label and skin tone among some thousand rows."""
    usable = (pc.field("status") == "ok") & (pc.field("split") == "train") & pc.field("malignant").is_valid()
    usable &= about(5000, total)
    columns = ["sample_id", "caption", "malignant", "skin_tone"]
    cells = {True: "malignant", False: "benign"}
    captions: dict[str, str] = {}
    for row in read_columns(rows, columns, usable).sort_by([("sample_id", "descending")]).to_pylist():
        captions[_cell(cells, row)] = row["caption"]
    return dict(sorted(captions.items()))


def _cell(labels: dict[bool, str], row: dict[str, Any]) -> str:
    return f"{labels[row['malignant']]}, tone {row['skin_tone'] or 'unknown'}"
