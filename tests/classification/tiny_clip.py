"""A CLIP model of some thousand weights with open_clip's own tokenizer, in a directory of open_clip's format."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

SIZE = 32  # px
CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": SIZE, "patch_size": 8, "layers": 1, "width": 32, "head_width": 16},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.6, 0.5, 0.4], "std": [0.2, 0.3, 0.25]},  # no model's usual ones
}


def write(directory: Path, seed: int = 0) -> Path:
    """The directory, with random weights."""
    import open_clip

    torch.manual_seed(seed)
    settings = json.loads(json.dumps(CONFIG["model_cfg"]))
    model = open_clip.CLIP(**settings)
    with torch.no_grad():
        model.token_embedding.weight.normal_()  # so that texts differ by more than their last token's position
        model.logit_scale.fill_(3.0)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "open_clip_config.json").write_text(json.dumps(CONFIG))
    save_file(model.state_dict(), directory / "open_clip_model.safetensors")
    return directory
