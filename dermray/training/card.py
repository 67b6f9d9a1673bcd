"""A model card beside the weights: what they were made from, how, and what they must not be used for."""

import json

from huggingface_hub import ModelCard, ModelCardData

from dermray.generators.base import SOURCES
from dermray.generators.base import family as family_of
from dermray.generators.coverage import Coverage, TextCoverage, losses
from dermray.manifest import Work

BODY = """
# {family} trained on {rows} lesion images

{what}

- Trained on rows of the train split alone: captions of key `{captions}`.
- Loss (mean of the last tenth): {loss:.4f} after {steps} steps of {batch} images.
- Text that it reads: {reads}. Lost of the training captions: {lost}.
- Licences of the training images: {licences}. Weights and what they draw inherit the strictest of them{base_licence}.
- Made by dermray {version} with torch {torch}, diffusers {diffusers}.

**Not for diagnosis.** Images drawn by this model show no patient. Whether they help a classifier, and whether it copies
training images, was not decided here: see the reports of `dermray evaluate`, `generate` and `sweep`.

## Configuration
```json
{config}
```
"""
READ_BY = {
    "stable_diffusion": "A pipeline folder: `DiffusionPipeline.from_pretrained(directory)` of diffusers.",
    "stable_diffusion_lora": "LoRA adapters: `load_lora_weights(directory)` in diffusers' StableDiffusionPipeline, "
    'with `timestep_spacing="trailing"` in its scheduler.',
    "sdxl_lora": "LoRA adapters: `load_lora_weights(directory)` in diffusers' StableDiffusionXLPipeline, "
    'with `timestep_spacing="trailing"` in its scheduler.',
    "latent_diffusion": "A pipeline folder: `DiffusionPipeline.from_pretrained(directory)` of diffusers.",
}


OURS = "Loaded by `dermray.training.run.load_generator`."
LOKR = "A LoKr adapter: `load_lora_adapter` of diffusers' transformer or U-Net, as dermray's docs/adapters.md says."


def model_card(
    work: Work, family: str, report: dict[str, float], rows: int, read: Coverage, versions: dict[str, str]
) -> str:
    """README.md of a model directory, with the metadata that the hub reads."""
    given = [work.config["model"].get(source) for source in SOURCES]
    bases = [place for place in given if place and place != "nano"]
    data = ModelCardData(
        license="other",
        license_name="-and-".join(sorted({licence.lower() for licence in work.licences})) or "unknown",
        base_model=bases or None,
        library_name="diffusers" if _read_by(family) else "dermray",
        tags=["dermatology", "synthetic-images", "text-to-image", family],
    )
    text = BODY.format(
        family=family,
        rows=rows,
        what=LOKR if work.config["model"].get("adapter") == "lokr" else _read_by(family) or OURS,
        captions=work.inputs["rows"],
        loss=report["loss"],
        steps=report["steps"],
        batch=work.config["loop"]["batch_size"],
        reads="; ".join(_reads(name, part) for name, part in read.items()) or "none, it draws without",
        lost="; ".join(losses(read)) or "nothing",
        licences=", ".join(sorted(set(work.licences))) or "unknown",
        base_licence="".join(f", and the licence of {base}" for base in bases),
        version=versions.get("dermray", "?"),
        torch=versions.get("torch", "?"),
        diffusers=versions.get("diffusers", "?"),
        config=json.dumps(work.config, indent=1),
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n{text}"))


def _read_by(family: str) -> str | None:
    pipeline = family_of(family).Pipeline
    if pipeline is None or family in READ_BY:
        return READ_BY.get(family)
    return f"A LoRA adapter: `pipeline.load_lora_weights(directory)` in diffusers' {pipeline.__name__}."


def _reads(name: str, part: TextCoverage) -> str:
    """Counts alone: a word that is unknown may be a patient's name."""
    about = "" if part.unknown_words is not None else ", byte-level, of an encoder that was trained on English"
    return f"{part.limit} {part.unit} ({name}{about})"
