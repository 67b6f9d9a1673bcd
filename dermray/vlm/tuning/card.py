"""A model card beside what was tuned: on what, how, under which licences, and what it must not be used for."""

import json
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from dermray import weights
from dermray.manifest import Work
from dermray.vlm.tuning.base import Found
from dermray.vlm.tuning.settings import TuneConfig

BODY = """
# {base}, tuned on {conversations} conversations about lesion images

{what}

- Learned: {learned} of rows of key `{rows}`, their train split alone; loss on the answers' tokens only.
- Trained: {trained:,} of {all:,} weights ({how}).
- Loss (mean of the last tenth): {loss:.4f} after {steps} steps of {batch} conversations{validation}.
- Licence of the base: {base_licence}. Of the images: {licences}. What was tuned inherits the strictest of them.
- Made by dermray {version} with transformers {transformers}, peft {peft}, torch {torch}.

**Not for diagnosis.** What this model says of an image was not checked by a physician. Whether it says more that is
true than its base is measured on rows that it has not seen: see `dermray vqa`.

## Configuration
```json
{config}
```
"""
ADAPTER = (
    "A LoRA adapter in peft's format: `peft.PeftModel.from_pretrained(base, directory)` around the base, or "
    "`engine.lora` of dermray's caption stage."
)
WHOLE = "A model directory of transformers: `AutoModelForImageTextToText.from_pretrained(directory)`."


def model_card(
    work: Work, config: TuneConfig, found: Found, report: dict[str, Any], weights_of: tuple[int, int],
    conversations: int,
) -> str:  # fmt: skip
    """README.md of a model directory, with the metadata that the hub reads.

    Args:
        weights_of: trained and frozen.
    """
    from importlib.metadata import version

    lora = config.method == "lora"
    data = ModelCardData(
        license="other",
        license_name="-and-".join(sorted({name.lower() for name in [found.licence, *work.licences]})),
        base_model=found.base.name if weights.on_hub(found.base.place) else None,
        library_name="peft" if lora else "transformers",
        pipeline_tag="image-text-to-text",
        tags=["dermatology", "lora" if lora else "full-fine-tuning"],
    )
    trained, frozen = weights_of
    losses = report["validation_losses"]
    text = BODY.format(
        base=found.base.name,
        conversations=f"{conversations:,}",
        what=ADAPTER if lora else WHOLE,
        learned=f"`{config.learn.answers}`",
        rows=work.inputs["rows"],
        trained=trained,
        all=trained + frozen,
        how=f"LoRA of rank {config.lora.rank} on the {_listed(config)}" if lora else f"all of the {_listed(config)}",
        loss=report["loss"],
        steps=report["steps"],
        batch=config.loop.batch_size,
        validation=f"; held out: {losses[-1][1]:.4f}" if losses else "",
        base_licence=found.licence,
        licences=", ".join(sorted(set(work.licences))) or "unknown",
        config=json.dumps(work.config, indent=1),
        version=version("dermray"),
        transformers=version("transformers"),
        peft=version("peft"),
        torch=version("torch"),
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n{text}"))


def _listed(config: TuneConfig) -> str:
    if config.start_from:
        return "layers of the adapter that it began with"
    return " and ".join(part.replace("_", " ") for part in config.parts)
