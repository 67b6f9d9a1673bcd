"""How well pictures go with their prompts: 100 times the cosine between CLIP's embeddings of both, 0 at least.

Hessel et al. 2021 (CLIPScore), with the factor of torchmetrics instead of 2.5. torchmetrics itself does not go with
transformers 5.
"""

import json

import torch
from torch import Tensor

from dermray import storage, weights

FACTOR = 100.0


class ClipScore:
    """A CLIP on the CPU: the GPU's memory is the training's.

    Args:
        place: a directory, s3:// URI or hub id. revision: of a hub id.

    Raises:
        FileNotFoundError, OSError, ValueError: there is none.
    """

    def __init__(self, place: str, revision: str | None = None) -> None:
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        located = weights.locate(place, "previews.clip", revision)
        self._model = CLIPModel.from_pretrained(located, revision=revision).eval().requires_grad_(False)
        self._see = AutoImageProcessor.from_pretrained(located, revision=revision)
        self._read = AutoTokenizer.from_pretrained(located, revision=revision)

    @torch.no_grad()
    def __call__(self, images: list[Tensor], prompts: list[str]) -> list[float]:
        """Of each (3, H, W) uint8 image with its prompt, in [0, 100]. A prompt is cut where CLIP stops to read."""
        length = self._model.config.text_config.max_position_embeddings
        text = self._read(prompts, padding=True, truncation=True, max_length=length, return_tensors="pt")
        seen = self._see(images=[image.cpu() for image in images], return_tensors="pt")
        made = self._model(
            input_ids=text.input_ids, attention_mask=text.attention_mask, pixel_values=seen.pixel_values
        )  # whose embeddings have norm 1
        scores: list[float] = (FACTOR * (made.image_embeds * made.text_embeds).sum(1)).clamp(min=0).tolist()
        return scores


def check_clip(place: str, revision: str | None, field: str) -> None:
    """Whether there is a CLIP, by its config. What a hub id holds is seen when it is loaded.

    Raises:
        FileNotFoundError: there is nothing, or the hub is out of reach. ValueError: another model.
    """
    located = weights.everywhere(place, field)
    if weights.on_hub(located):
        weights.hub_commit(located, revision)
        return
    config = storage.join(located, "config.json")
    if not storage.exists(config):
        raise ValueError(f"{field}={place}: expected the folder of a CLIP, and there is no config.json in it")
    kind = json.loads(storage.read_bytes(config)).get("model_type")
    if kind != "clip":
        raise ValueError(
            f"{field}={place}: expected the folder of a CLIP, and its config.json says {kind or 'nothing'}"
        )
