"""Operations of generators at published size, counted on tensors without data: no weights, no GPU, no network.

    python -m benchmarks.papers_operations NAME ...

Training is what `dermray train --dry-run` counts; sampling is the family's own, of one image with 2 and with 3 steps.
Writes dermray/planning/operations.json, which `dermray plan` and benchmarks.papers_on_paper read; a name that is given
is counted again. Minutes a name on two cores.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dermray.config import load, preset
from dermray.planning import counting
from dermray.planning.rates import rates
from dermray.training.settings import TrainConfig

COUNTED = Path(counting.__file__).parent / counting.COUNTED


@dataclass(frozen=True)
class Network:
    """A preset at its size.

    Args:
        guidance_scale: of sampling, which doubles a step's work where a family draws with and without the text: the
            papers', or what the bases' cards draw with.
    """

    preset: str
    guidance_scale: float
    changes: tuple[str, ...] = ()


NETWORKS = {
    "glide": Network("glide_paper", 3.0),
    "dermdit": Network("dermdit_paper", 1.0, ("model.compat=paper",)),
    "dermdit_fixed": Network("dermdit_paper", 1.0),
    "dit": Network("dermdit_paper", 1.0, ("model.conditional=false",)),
    "ldm": Network("latent_diffusion_paper", 1.0),
    "flux_512": Network("flux_lora_paper", 3.5),
    "derm_t2im": Network("derm_t2im", 7.5),
    "dermdiff": Network("dermdiff", 7.5),
    "lesiongen": Network("lesiongen", 7.5),
    "sdxl_lora": Network("sdxl_lora", 5.0),
    "sd3_lora": Network("sd3_lora", 4.5),
    "flux2_klein_lora": Network("flux2_klein_lora", 4.0),
    "z_image_lora": Network("z_image_lora", 5.0),
    "qwen_image_lora": Network("qwen_image_lora", 4.0),
    "sana_lora": Network("sana_lora", 4.5),
    "pixel_dermdit_nano": Network("pixel_dermdit_nano", 2.0),
}


def of_network(network: Network) -> dict[str, Any]:
    """Its entry in the file."""
    config = load(TrainConfig, preset(f"train/{network.preset}"), list(network.changes))
    return counting.entry(config, network.guidance_scale)


def of_llama_vision() -> dict[str, int]:
    """Forward passes of Llama-3.2-11B-Vision: of its image encoder with four tiles, and of its language model."""
    import transformers

    config = transformers.MllamaConfig(vision_config={"image_size": 560})  # else transformers' defaults: they are 11B's
    with torch.device("meta"):
        model = transformers.MllamaForConditionalGeneration(config).eval()
        vision = {
            "pixel_values": torch.empty(1, 1, 4, 3, 560, 560), "aspect_ratio_ids": torch.ones(1, 1, dtype=torch.long),
            "aspect_ratio_mask": torch.ones(1, 1, 4, dtype=torch.long),
        }  # fmt: skip
        states = torch.empty(1, 4 * 1601, 4096)
        tokens = torch.ones(1, rates().lengths.conversation, dtype=torch.long)
    return {
        "vision": counting.operations_of(lambda: model.model.vision_model(**vision)),
        "text": counting.operations_of(lambda: model.model.language_model(tokens, cross_attention_states=states)),
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }


def main() -> None:
    """Counts what is named, and keeps the rest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*NETWORKS, "llama_vision"])
    for name in parser.parse_args().names or [*NETWORKS, "llama_vision"]:
        found = of_llama_vision() if name == "llama_vision" else of_network(NETWORKS[name])
        known = json.loads(COUNTED.read_text()) if COUNTED.exists() else {}
        COUNTED.write_text(json.dumps({**known, name: found}, indent=1, sort_keys=True) + "\n")
        print(name, {key: value for key, value in found.items() if key != "what"}, flush=True)


if __name__ == "__main__":
    main()
